package testvectors

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"testing"
)

// TestEveryFile reads each embedded file: a header that does not parse or a body
// that is not JSON is a mistake in the file.
func TestEveryFile(t *testing.T) {
	folders, err := fs.ReadDir(files, ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		vectors, err := Load(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range vectors {
			if !json.Valid(v.Body) {
				t.Errorf("%s/%s: body is not JSON", f.Name(), v.Name)
			}
			again, err := Parse(v.Name, v.Encode())
			if err != nil || !bytes.Equal(again.Encode(), v.Encode()) {
				t.Errorf("%s/%s does not survive a round trip: %v", f.Name(), v.Name, err)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for name, file := range map[string]string{
		"no body":        "expect: success\nsource: x\ncomment: y\n",
		"no source":      "expect: success\ncomment: y\n\n{}",
		"unknown header": "expect: success\nsource: x\ncomment: y\nclock: z\n\n{}",
		"repeated":       "expect: success\nexpect: success\nsource: x\ncomment: y\n\n{}",
		"empty value":    "expect: \nsource: x\ncomment: y\n\n{}",
		"empty":          "",
	} {
		if _, err := Parse(name, []byte(file)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := Load("absent"); err == nil {
		t.Error("a missing folder has vectors")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("expect: success\nsource: x\ncomment: y\n\n{}"))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := Parse("x", b)
		if err != nil {
			return
		}
		again, err := Parse("x", v.Encode())
		if err != nil || again.Expect != v.Expect || !bytes.Equal(again.Body, v.Body) {
			t.Fatalf("%+v becomes %+v, %v", v, again, err)
		}
	})
}
