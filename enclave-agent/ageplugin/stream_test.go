package ageplugin

import (
	"bytes"
	"crypto"
	"errors"
	"io"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"

	agent "github.com/openskr/openskr/enclave-agent"
)

// encrypted is an age file of plain.
func encrypted(t testing.TB, plain []byte, to ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := Encrypt(&out, to...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func armoredFile(t testing.TB, file []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := armor.NewWriter(&out)
	if _, err := w.Write(file); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestDecrypt(t *testing.T) {
	ec, rs := newEC(t), newRSA(t)
	native, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	v := &vault{t: t, keys: map[string]crypto.Signer{kid: ec, url + "2/" + version: rs}}
	to := []string{newRecipient(t, kid, ec).String(), native.Recipient().String(), newRecipient(t, url+"2/"+version, rs).String()}
	for _, size := range []int{0, 1, 64 << 10, 2 * maxHeader} {
		plain := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
		file := encrypted(t, plain, to...)
		for name, file := range map[string][]byte{"binary": file, "armored": armoredFile(t, file)} {
			if !IsAge(file[:HeadSize]) {
				t.Errorf("%s: not recognised", name)
			}
			for _, url := range []string{url, url + "2"} {
				r, err := Decrypt(t.Context(), bytes.NewReader(file), v.release, url)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("%s of %d bytes for %s: %d bytes, %v", name, size, url, len(got), err)
				}
			}
		}
	}
}

// A file that was changed anywhere is refused, and one that was cut never ends well.
func TestDecryptRefuses(t *testing.T) {
	ec := newEC(t)
	v := &vault{t: t, keys: map[string]crypto.Signer{kid: ec}}
	r := newRecipient(t, kid, ec).String()
	plain := make([]byte, 150_000)
	good := encrypted(t, plain, r)
	open := func(file []byte) ([]byte, error) {
		out, err := Decrypt(t.Context(), bytes.NewReader(file), v.release, url)
		if err != nil {
			return nil, err
		}
		return io.ReadAll(out)
	}
	header := bytes.Index(good, []byte("\n---")) + 48 // and its MAC
	for _, at := range []int{0, 30, 60, header - 20, header + 5, header + 40, header + 70_000, len(good) - 1} {
		bad := bytes.Clone(good)
		bad[at] ^= 1
		if got, err := open(bad); err == nil || len(got) > 2*(64<<10) {
			t.Errorf("byte %d changed: %d bytes, %v", at, len(got), err)
		}
	}
	chunk := 64<<10 + 16
	body := header + 16
	for name, file := range map[string][]byte{
		"cut in the header": good[:header-30], "cut in a chunk": good[:body+100], "cut between chunks": good[:body+chunk],
		"cut before the last chunk": good[:body+2*chunk], "one byte less": good[:len(good)-1],
		"one byte more": append(bytes.Clone(good), 0), "a file behind it": append(bytes.Clone(good), good...),
		"chunks exchanged":  append(append(append(bytes.Clone(good[:body]), good[body+chunk:body+2*chunk]...), good[body:body+chunk]...), good[body+2*chunk:]...),
		"header of another": append(bytes.Clone(encrypted(t, plain, r)[:header]), good[header:]...),
		"text behind armor": append(armoredFile(t, good), "more"...),
		"cut armor":         armoredFile(t, good)[:4000],
		"no age file":       []byte("hello"),
		"empty":             nil,
	} {
		if got, err := open(file); err == nil {
			t.Errorf("%s: %d bytes", name, len(got))
		}
	}
	v.asked = nil
	if _, err := Decrypt(t.Context(), bytes.NewReader(good), v.release, url+"3"); !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), "openskr") || len(v.asked) > 0 {
		t.Errorf("other key: %v", err)
	}
	delete(v.keys, kid)
	if _, err := open(good); agent.ExitCode(err) != agent.ExitRefused {
		t.Errorf("refused: %v", err)
	}
}

// A header is kept in memory as a whole, so that there must be an end to it.
func TestHeaderIsBounded(t *testing.T) {
	v := &vault{t: t}
	for name, endless := range map[string]string{"stanzas": "-> x\n\n", "a stanza": "x"} {
		src := strings.NewReader(magic + "-> x\n\n-> " + strings.Repeat(endless, 8*maxHeader/len(endless)))
		if _, err := Decrypt(t.Context(), src, v.release, url); err == nil || src.Len() < 6*maxHeader {
			t.Errorf("%s: %v, %d bytes not read", name, err, src.Len())
		}
	}
}

func TestEncryptRefuses(t *testing.T) {
	pq, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	good := newRecipient(t, kid, newEC(t)).String()
	for name, to := range map[string][]string{
		"none": nil, "empty": {""}, "other plugin": {"age1yubikey1qqqq"}, "broken": {good[:len(good)-1]}, "two in one": {good + "\n" + good},
		"post-quantum beside classical": {good, pq.Recipient().String()},
	} {
		if _, err := Encrypt(io.Discard, to...); !errors.Is(err, agent.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
