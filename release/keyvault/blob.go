package keyvault

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// A backup is (docs/wire/keyvault.md#backups)
//
//	magic ‖ part(header) ‖ part(file key, sealed) ‖ nonce ‖ AES-256-GCM(file key, content)
//
// where part is a length in four bytes, big endian, and the bytes. The file key is
// sealed by the deployment key for this header; what precedes the nonce is the
// associated data of the content. The content is part(columns) ‖ part(payload)…, the
// columns as JSON and the payloads as they are, so that no material passes through an
// encoder. One GCM, not chunks: a blob is small (MaxBackup), is read as a whole, and
// nothing of it is used before all of it is authentic.
const (
	backupMagic   = "openskr backup\n"
	backupVersion = 1
	maxHeader     = 4 << 10
	maxSealedKey  = 256
	fileKeySize   = 32
	gcmOverhead   = 12 + 16
)

// MaxBackup bounds a backup in bytes: 500 versions of the largest keys fit.
const MaxBackup = 8 << 20

// header is readable by anyone who has the blob, and changed by nobody.
type header struct {
	V          int            `json:"v"`
	Deployment string         `json:"deployment"`
	Vault      string         `json:"vault"`
	Collection Collection     `json:"collection"`
	Name       string         `json:"name"`
	ObjectID   string         `json:"object_id"`
	Versions   int            `json:"versions"`
	Policy     receipt.Digest `json:"policy"` // of the latest version, at the time of the backup
	Index      int64          `json:"index"`  // of the backup's record
	Time       int64          `json:"time"`   // Unix seconds
}

// backup is an object on its way out or in.
type backup struct {
	header   header
	versions []saved // oldest first
}

type saved struct {
	row     *Row // without what seals it
	payload []byte
}

func (b *backup) latest() *Row { return b.versions[len(b.versions)-1].row }

func (b *backup) payloads() [][]byte {
	out := make([][]byte, len(b.versions))
	for i, v := range b.versions {
		out[i] = v.payload
	}
	return out
}

func (b *backup) clear() {
	for _, p := range b.payloads() {
		clear(p)
	}
}

func (b *backup) clone() *backup {
	out := &backup{header: b.header}
	for _, v := range b.versions {
		row := *v.row
		row.Tags, row.KeyOps = maps.Clone(row.Tags), slices.Clone(row.KeyOps)
		out.versions = append(out.versions, saved{&row, bytes.Clone(v.payload)})
	}
	return out
}

// columns are what is kept of each version, and the policies that they name by digest.
type columns struct {
	Versions []column `json:"versions"`
	Policies [][]byte `json:"policies"`
}

type column struct {
	rules
	Generation  int64  `json:"generation"`
	Created     int64  `json:"created"`
	Updated     int64  `json:"updated"`
	Kty         string `json:"kty,omitempty"`
	Crv         string `json:"crv,omitempty"`
	Size        int    `json:"size,omitempty"`
	Public      []byte `json:"public,omitempty"`
	ContentType string `json:"content_type,omitempty"`
}

// backupAAD is what a file key is sealed for.
func backupAAD(deployment, vault string, c Collection, head []byte) []byte {
	var b canonical
	b.str("openskr/backup/v1")
	b.str(deployment)
	b.str(vault)
	b.str(string(c))
	b.bytes(head)
	return b
}

// encode gives the blob.
func (b *backup) encode(root Root) ([]byte, error) {
	head, err := json.Marshal(b.header)
	if err != nil {
		return nil, err
	}
	content, err := b.content()
	defer clear(content)
	if err != nil {
		return nil, err
	}
	key := make([]byte, fileKeySize)
	defer clear(key)
	rand.Read(key)
	sealed, err := root.Seal(key, backupAAD(b.header.Deployment, b.header.Vault, b.header.Collection, head))
	if err != nil {
		return nil, err
	}
	gcm, err := aead(key)
	if err != nil {
		return nil, err
	}
	out := appendPart(appendPart([]byte(backupMagic), head), sealed)
	out = gcm.Seal(out, nil, content, bytes.Clone(out))
	if len(out) > MaxBackup {
		return nil, release.Refuse(release.ReasonConflict, "%s/%s is too large for a backup: %d bytes, limit %d", b.header.Collection, b.header.Name, len(out), MaxBackup)
	}
	return out, nil
}

// content is what is encrypted. It is made in one piece, so that clearing it leaves no copy.
func (b *backup) content() ([]byte, error) {
	var c columns
	size, seen := 0, map[receipt.Digest]bool{}
	for _, v := range b.versions {
		r := v.row
		c.Versions = append(c.Versions, column{
			rules: rulesOf(r), Generation: r.Generation, Created: r.Created, Updated: r.Updated, Kty: r.Kty, Crv: r.Crv, Size: r.Size,
			Public: r.Public, ContentType: r.ContentType,
		})
		if d := receipt.Digest(r.Policy.Digest); len(r.Policy.Data) > 0 && !seen[d] {
			seen[d] = true
			c.Policies = append(c.Policies, r.Policy.Data)
		}
		size += 4 + len(v.payload)
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	out := appendPart(make([]byte, 0, 4+len(text)+size), text)
	for _, v := range b.versions {
		out = appendPart(out, v.payload)
	}
	return out, nil
}

func appendPart(b, part []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(part))), part...)
}

// cutPart takes a part of at most limit bytes off the front.
func cutPart(b []byte, limit int) (part, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, io.ErrUnexpectedEOF
	}
	n := int64(binary.BigEndian.Uint32(b))
	if b = b[4:]; n > int64(limit) || n > int64(len(b)) {
		return nil, nil, fmt.Errorf("a part of %d bytes, of %d left and %d allowed", n, len(b), limit)
	}
	return b[:n:n], b[n:], nil
}

// parseBackup takes a blob apart. Nothing of it is proven yet.
func parseBackup(blob []byte) (h header, head, sealed, rest []byte, err error) {
	if len(blob) > MaxBackup {
		return h, nil, nil, nil, fmt.Errorf("%d bytes, limit %d", len(blob), MaxBackup)
	}
	rest, ok := bytes.CutPrefix(blob, []byte(backupMagic))
	if !ok {
		return h, nil, nil, nil, errors.New("not a backup of this program")
	}
	if head, rest, err = cutPart(rest, maxHeader); err != nil {
		return h, nil, nil, nil, err
	}
	if sealed, rest, err = cutPart(rest, maxSealedKey); err != nil {
		return h, nil, nil, nil, err
	}
	err = decodeOnly(head, &h)
	return h, head, sealed, rest, err
}

// decodeOnly reads JSON that has no member that v does not, and nothing after it.
func decodeOnly(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("JSON goes on after its end")
	}
	return nil
}

// openBackup gives what blob holds if it was made by this deployment, of this vault and
// collection. The caller clears it.
func openBackup(root Root, deployment, vault string, c Collection, blob []byte) (*backup, error) {
	h, head, sealed, rest, err := parseBackup(blob)
	if err != nil {
		return nil, invalidBackup("%w", err)
	}
	switch {
	case h.V != backupVersion:
		return nil, invalidBackup("format %d, this program reads %d", h.V, backupVersion)
	case h.Deployment != deployment:
		return nil, invalidBackup("it is of deployment %.64q, this is %s", h.Deployment, deployment)
	case h.Vault != vault:
		return nil, invalidBackup("it is of vault %.64q: restore it there", h.Vault)
	case h.Collection != c:
		return nil, invalidBackup("it is of %.16q, not of %s", h.Collection, c)
	}
	key, err := root.Unseal(sealed, backupAAD(deployment, vault, c, head))
	if err != nil || len(key) != fileKeySize {
		return nil, invalidBackup("its key does not open: it was changed, or is not of this deployment")
	}
	defer clear(key)
	gcm, err := aead(key)
	if err != nil {
		return nil, err
	}
	if len(rest) < gcmOverhead {
		return nil, invalidBackup("cut off")
	}
	content, err := gcm.Open(nil, nil, rest, blob[:len(blob)-len(rest)])
	if err != nil {
		return nil, invalidBackup("it was changed")
	}
	defer clear(content)
	return parseContent(h, content)
}

func invalidBackup(format string, args ...any) error {
	return release.Refuse(release.ReasonBackupInvalid, "backup: "+format, args...)
}
