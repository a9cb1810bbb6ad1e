package main

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// What the clients of Google ask, by name.
const (
	tokenHost   = "oauth2.googleapis.com"
	storageHost = "storage.googleapis.com"
	account     = "writer@project.iam.gserviceaccount.com"
)

// google is Google's token service, which knows one service account, and Cloud Storage
// with one bucket: what of their APIs uploads and downloads take.
type google struct {
	mu      sync.Mutex
	user    *rsa.PublicKey
	token   string // "": none was given out
	objects map[string]*object
	uploads map[string]*object // resumable ones that are under way, by their names
	asked   map[string]bool    // hosts

	drop int64 // after so many bytes of it an upload breaks off; 0: never
	race bool  // somebody writes the object while it is uploaded
}

type object struct {
	Name     string            `json:"name"`
	Metadata map[string]string `json:"metadata"`
	body     []byte
}

func newGoogle(user *rsa.PublicKey) *google {
	return &google{user: user, objects: map[string]*object{}, uploads: map[string]*object{}, asked: map[string]bool{}}
}

// ServeHTTP implements [http.Handler].
func (g *google) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked[r.Host] = true
	name, read := strings.CutPrefix(r.URL.Path, "/bucket/")
	shown, show := strings.CutPrefix(r.URL.Path, "/storage/v1/b/bucket/o/")
	switch {
	case r.Host == tokenHost:
		g.giveToken(w, r)
	case r.Host != storageHost:
		refuse(w, http.StatusNotFound, "another service")
	case g.token == "" || r.Header.Get("Authorization") != "Bearer "+g.token:
		refuse(w, http.StatusUnauthorized, "Invalid Credentials")
	case r.URL.Path == "/upload/storage/v1/b/bucket/o":
		g.upload(w, r)
	case read && g.objects[name] != nil:
		body := bytes.NewReader(g.objects[name].body)
		g.mu.Unlock() // who reads may wait for what he writes meanwhile
		defer g.mu.Lock()
		http.ServeContent(w, r, "", time.Time{}, body)
	case show && g.objects[shown] != nil:
		answer(w, g.objects[shown])
	default:
		refuse(w, http.StatusNotFound, "The specified bucket or object does not exist.")
	}
}

func refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":{"code":%d,"message":%q}}`, status, text)
}

func answer(w http.ResponseWriter, o *object) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"bucket": "bucket", "name": o.Name, "size": fmt.Sprint(len(o.body)), "generation": "1", "etag": fmt.Sprintf("%x", sha256.Sum256(o.body)), "metadata": o.Metadata,
	})
}

// giveToken verifies an assertion of the service account (RFC 7523).
func (g *google) giveToken(w http.ResponseWriter, r *http.Request) {
	part := strings.Split(r.PostFormValue("assertion"), ".")
	var claims struct{ Iss, Aud string }
	if len(part) == 3 {
		hash := sha256.Sum256([]byte(part[0] + "." + part[1]))
		body, err := base64.RawURLEncoding.DecodeString(part[1])
		sig, serr := base64.RawURLEncoding.DecodeString(part[2])
		if err := errors.Join(err, serr, rsa.VerifyPKCS1v15(g.user, crypto.SHA256, hash[:], sig), json.Unmarshal(body, &claims)); err != nil {
			claims.Iss = ""
		}
	}
	w.Header().Set("Content-Type", "application/json")
	if claims.Iss != account || claims.Aud != "https://"+tokenHost+"/token" {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"error":"invalid_grant","error_description":"Invalid JWT Signature."}`)
		return
	}
	g.token = rand.Text()
	fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, g.token)
}

// upload takes a small object at once, with its metadata, or one piece by piece.
func (g *google) upload(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("upload_id") != "" {
		g.piece(w, r, q.Get("upload_id"))
		return
	}
	o := &object{}
	var err error
	if q.Get("uploadType") == "multipart" {
		err = g.whole(r, o)
	} else {
		err = json.NewDecoder(r.Body).Decode(o)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if g.race {
		g.objects[o.Name] = &object{Name: o.Name, body: []byte("first")}
	}
	if q.Get("uploadType") == "multipart" {
		g.commit(w, q, o)
		return
	}
	id := rand.Text()
	g.uploads[id] = o
	w.Header().Set("Location", "https://"+storageHost+r.URL.Path+"?"+url.Values{"upload_id": {id}, "ifGenerationMatch": q["ifGenerationMatch"]}.Encode())
	w.WriteHeader(http.StatusOK)
}

func (g *google) commit(w http.ResponseWriter, q url.Values, o *object) {
	if g.objects[o.Name] != nil && q.Get("ifGenerationMatch") == "0" {
		refuse(w, http.StatusPreconditionFailed, "At least one of the pre-conditions you specified did not hold.")
		return
	}
	g.objects[o.Name] = o
	answer(w, o)
}

// whole reads multipart/related: metadata, then the object.
func (g *google) whole(r *http.Request, o *object) error {
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	parts := multipart.NewReader(r.Body, params["boundary"])
	head, err := parts.NextPart()
	if err == nil {
		err = json.NewDecoder(head).Decode(o)
	}
	if err != nil {
		return err
	}
	body, err := parts.NextPart()
	if err == nil {
		err = g.take(body, o)
	}
	return err
}

// take reads what belongs to an object, and breaks off where it is told to.
func (g *google) take(body io.Reader, o *object) error {
	if g.drop > 0 {
		body = io.LimitReader(body, g.drop)
	}
	b, err := io.ReadAll(body)
	if g.drop > 0 && int64(len(b)) == g.drop {
		panic(http.ErrAbortHandler)
	}
	o.body = append(o.body, b...)
	return err
}

// piece takes a part of a resumable upload; the last one says how long the whole is.
func (g *google) piece(w http.ResponseWriter, r *http.Request, id string) {
	o := g.uploads[id]
	if o == nil {
		refuse(w, http.StatusNotFound, "no such upload")
		return
	}
	_, total, _ := strings.Cut(r.Header.Get("Content-Range"), "/")
	if err := g.take(r.Body, o); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if total == fmt.Sprint(len(o.body)) {
		delete(g.uploads, id)
		g.commit(w, r.URL.Query(), o)
		return
	}
	w.Header().Set("X-Http-Status-Code-Override", "308") // the client asks for no real one
	w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", len(o.body)-1))
}
