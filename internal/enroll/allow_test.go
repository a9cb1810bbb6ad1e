package enroll

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

func TestParseAllowList(t *testing.T) {
	a, b := strings.Repeat("ab", 32), strings.Repeat("0C", 32)
	list, err := ParseAllowList([]byte("# rack 4\n" + a + "  # host-17\r\n\n  " + b + "\n"))
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, h := range []string{a, b} {
		raw, _ := hex.DecodeString(h)
		if !list.Allows([32]byte(raw)) {
			t.Errorf("%s is missing", h)
		}
	}
	if list.Allows([32]byte{}) || AllowList(nil).Allows([32]byte{}) {
		t.Error("a hash that is not there is allowed")
	}
	for name, text := range map[string]string{
		"short": a[:62], "long": a + "00", "not hex": strings.Repeat("zz", 32), "two on a line": a + " " + b, "colons": strings.Repeat("ab:", 32),
		"prefix": "sha256:" + a, "good then bad": a + "\nx\n", "NUL": a + "\x00", "only a star": "*",
	} {
		if list, err := ParseAllowList([]byte(text)); err == nil || list != nil {
			t.Errorf("%s: %v", name, list)
		}
	}
	if _, err := ParseAllowList(bytes.Repeat([]byte("\n"), MaxAllowFile+1)); err == nil {
		t.Error("a file beyond the limit is read")
	}
}

func FuzzParseAllowList(f *testing.F) {
	f.Add([]byte(strings.Repeat("ab", 32) + " # host\n\n"))
	f.Add([]byte("zz"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := ParseAllowList(b)
		if err != nil && list != nil {
			t.Fatal("half a list")
		}
		if len(list) > len(b)/64 {
			t.Fatal("more hashes than the file can hold")
		}
	})
}
