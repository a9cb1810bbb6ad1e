package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// bucket is Amazon S3 as moto plays it, with signatures and rights checked, and a machine
// with openskr-workload on it.
type bucket struct {
	blobs
	endpoint string
	user     []string // what Amazon's SDKs take from the environment
	key      string   // URL

	mu  sync.Mutex
	in  io.Writer // of s3.py
	out *bufio.Reader
	log bytes.Buffer
}

// object is what Amazon's SDK finds.
type object struct {
	size     int
	hash     string
	metadata map[string]string
}

func newBucket(t *testing.T) *bucket {
	t.Helper()
	b := &bucket{blobs: blobs{workload: workload(t), machine: machine(t)}}
	b.key = importKEK(t, "A256KW", anyMachine(t)).url
	c := exec.Command(filepath.Join(install(t, "s3"), "bin/python"), "-B", "s3/s3.py")
	c.Env, c.Stderr = append(os.Environ(), "NO_PROXY=127.0.0.1"), &b.log
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = c.Process.Kill(); _ = c.Wait() })
	b.in, b.out = in, bufio.NewReader(out)
	var id, secret string
	if _, err := fmt.Fscanln(b.out, &b.endpoint, &id, &secret); err != nil {
		t.Fatalf("s3.py: %v\n%s", err, b.log.String())
	}
	b.user = []string{"NO_PROXY=127.0.0.1", "AWS_EC2_METADATA_DISABLED=true", "AWS_REGION=us-east-1", "AWS_ENDPOINT_URL=" + b.endpoint, "AWS_ACCESS_KEY_ID=" + id, "AWS_SECRET_ACCESS_KEY=" + secret}
	return b
}

// name is how openskr-workload calls an object: by path, since no bucket has a name here.
func (b *bucket) name(object string) string { return "s3://bucket/" + object + "?use_path_style=true" }

// sdk has Amazon's SDK for Python do something, and gives the lines that it prints.
func (b *bucket) sdk(t *testing.T, command ...any) (lines []string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	_, err := fmt.Fprintln(b.in, command...)
	for err == nil {
		var line string
		if line, err = b.out.ReadString('\n'); line == ".\n" {
			return lines
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	t.Errorf("s3.py, %q: %v\n%s", command, err, b.log.String())
	return nil
}

// objects are all that are there, and the uploads that nobody ended.
func (b *bucket) objects(t *testing.T) (found map[string]object, pending []string) {
	t.Helper()
	found = map[string]object{}
	for _, line := range b.sdk(t, "list") {
		if upload, ok := strings.CutPrefix(line, "- "); ok {
			pending = append(pending, upload)
			continue
		}
		f := strings.SplitN(line, " ", 4)
		var o object
		if _, err := fmt.Sscan(f[1], &o.size); err != nil {
			t.Fatal(err)
		}
		o.hash = f[2]
		if err := json.Unmarshal([]byte(f[3]), &o.metadata); err != nil {
			t.Fatal(err)
		}
		found[f[0]] = o
	}
	return found, pending
}

// fails wants exit code 1, these words, and nothing in the bucket but what was there.
func (b *bucket) fails(t *testing.T, environ []string, stdin io.Reader, words []string, args ...string) {
	t.Helper()
	before, _ := b.objects(t)
	_, stderr, code := b.with(t, slices.Concat(b.user, environ), stdin, args...)
	if code != 1 || strings.Count(strings.TrimSpace(stderr), "\n") > 0 {
		t.Errorf("%q: exit %d: %s", args, code, stderr)
	}
	for _, word := range words {
		if !strings.Contains(stderr, word) {
			t.Errorf("%q: says nothing of %q: %s", args, word, stderr)
		}
	}
	after, pending := b.objects(t)
	if len(after) != len(before) || len(pending) > 0 {
		t.Errorf("%q: left %d objects for %d, and uploads %q", args, len(after), len(before), pending)
	}
}

// TestS3: blobs go to and come from Amazon S3, whole or not at all.
func TestS3(t *testing.T) {
	t.Parallel()
	b := newBucket(t)
	const big = 20_000_000 // three parts
	for name, size := range map[string]int{"empty": 0, "small": 1000, "big": big} {
		plain := random(size)
		if _, stderr, code := b.with(t, b.user, bytes.NewReader(plain), "encrypt", "-", b.name(name), "--key", b.key); code != 0 {
			t.Fatalf("%s: exit %d: %s", name, code, stderr)
		}
		if out, stderr, code := b.with(t, b.user, nil, "decrypt", b.name(name), "-"); code != 0 || hash(out) != hash(plain) {
			t.Errorf("%s: exit %d, %d bytes: %s", name, code, len(out), stderr)
		}
		if _, stderr, code := b.with(t, b.user, nil, "decrypt", b.name(name), b.name(name+".plain")); code != 0 {
			t.Errorf("%s: exit %d: %s", name, code, stderr)
		}
		found, pending := b.objects(t)
		if !strings.Contains(found[name].metadata["encryptiondata"], b.key) || found[name+".plain"].hash != hash(plain) || len(pending) > 0 {
			t.Errorf("%s: Amazon's SDK finds %v, %q", name, found, pending)
		}
	}
	b.fails(t, nil, bytes.NewReader(random(10)), []string{"s3://bucket/small exists"}, "encrypt", "-", b.name("small"), "--key", b.key)
	t.Run("denied", b.denied)
	t.Run("broken", b.broken)
	t.Run("overtaken", b.overtaken)
	t.Run("killed", b.killed)
	t.Run("cut", func(t *testing.T) { b.cut(t, big) })
}

// denied: what the environment says wrongly is named, with where to mend it.
func (b *bucket) denied(t *testing.T) {
	for what, c := range map[string]struct {
		environ, words []string
	}{
		"secret":      {[]string{"AWS_SECRET_ACCESS_KEY=wrong"}, []string{"access denied", "AWS_ACCESS_KEY_ID"}},
		"user":        {[]string{"AWS_ACCESS_KEY_ID=nobody"}, []string{"access denied", "AWS_ACCESS_KEY_ID"}},
		"credentials": {[]string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}, []string{"AWS_ACCESS_KEY_ID"}},
		"region":      {[]string{"AWS_REGION="}, []string{"AWS_REGION"}},
		"endpoint":    {[]string{"AWS_ENDPOINT_URL=http://127.0.0.1:1"}, []string{"connection refused", "AWS_ENDPOINT_URL"}},
	} {
		t.Run(what, func(t *testing.T) {
			b.fails(t, c.environ, bytes.NewReader(random(10)), c.words, "encrypt", "-", b.name("never"), "--key", b.key)
			b.fails(t, c.environ, nil, c.words, "decrypt", b.name("small"), "-")
		})
	}
	b.fails(t, nil, bytes.NewReader(random(10)), []string{"no bucket"}, "encrypt", "-", "s3://bucket-2/never?use_path_style=true", "--key", b.key)
	b.fails(t, nil, nil, []string{"s3://bucket/never: not found"}, "decrypt", b.name("never"), "-")
}

// broken: the connection breaks off in the middle of an upload, each time it is tried.
func (b *bucket) broken(t *testing.T) {
	for name, size := range map[string]int{"of one part": 5_000_000, "of several": 20_000_000} {
		t.Run(name, func(t *testing.T) {
			through := []string{"AWS_ENDPOINT_URL=" + cutter(t, strings.TrimPrefix(b.endpoint, "http://"), 2_000_000)}
			b.fails(t, through, bytes.NewReader(random(size)), []string{"s3://bucket/never: ", "nothing was written", "try again"}, "encrypt", "-", b.name("never"), "--key", b.key)
		})
	}
}

// cutter is an address that leads to another, and breaks off each connection to it after
// so many bytes of a client.
func cutter(t *testing.T, to string, limit int64) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer from.Close()
				c, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer c.Close()
				go func() { _, _ = io.Copy(from, c); from.Close() }()
				_, _ = io.CopyN(c, from, limit)
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// overtaken: an object that came while another was under way stays.
func (b *bucket) overtaken(t *testing.T) {
	for name, size := range map[string]int{"one": 1000, "several": 20_000_000} {
		r, w := io.Pipe()
		go func() {
			_, err := w.Write(random(size))
			b.sdk(t, "put", name, "first") // the other waits for the end of its input
			w.CloseWithError(errors.Join(err, io.EOF))
		}()
		_, stderr, code := b.with(t, b.user, r, "encrypt", "-", b.name(name), "--key", b.key)
		found, pending := b.objects(t)
		if code != 1 || !strings.Contains(stderr, "exists") || found[name].size != len("first") || len(pending) > 0 {
			t.Errorf("%s: exit %d: %s; there are %v, %q", name, code, stderr, found, pending)
		}
	}
}

// killed: a program that is told to end takes its upload back.
func (b *bucket) killed(t *testing.T) {
	before, _ := b.objects(t)
	c := exec.Command(b.workload, "encrypt", "-", b.name("never"), "--key", b.key,
		"--config", filepath.Join(suite.broker.Dir, "agent.json"), "--platform", "simulated-snp", "--simulator", b.machine.Socket())
	var stderr bytes.Buffer
	c.Env, c.Stderr = slices.Concat(suite.outside, b.user), &stderr
	in, err := c.StdinPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if _, err := in.Write(random(40_000_000)); err != nil { // more than it holds: parts are on their way
		t.Fatal(err)
	}
	timer := time.AfterFunc(30*time.Second, func() { _ = c.Process.Kill() })
	defer timer.Stop()
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err == nil {
		t.Error("it ended well")
	}
	if after, pending := b.objects(t); len(after) != len(before) || len(pending) > 0 {
		t.Errorf("there are %d objects, uploads %q: %s", len(after), pending, stderr.String())
	}
}

// cut: an object that is shorter than it was is refused.
func (b *bucket) cut(t *testing.T, size int) {
	for _, name := range []string{"small", "big"} {
		found, _ := b.objects(t)
		b.sdk(t, "cut", name, found[name].size-500)
		dst := filepath.Join(t.TempDir(), "plain")
		b.fails(t, nil, nil, nil, "decrypt", b.name(name), dst)
		if _, err := os.Lstat(dst); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: there is a file: %v", name, err)
		}
	}
	// At the end of a region: what is left has authenticated.
	b.sdk(t, "cut", "big", size/region*(region+28))
	b.fails(t, nil, nil, []string{"nothing shows that the blob is whole"}, "decrypt", b.name("big"), filepath.Join(t.TempDir(), "plain"))
}
