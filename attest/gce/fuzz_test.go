package gce

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

// real is the extension of an instance of Google's, as its AK certificate has it.
const real = "306a0c0d75732d63656e7472616c312d6102051b5a475c690c1c676f6f676c652e636f6d3a7775616c652d6763702d74657374696e67" +
	"02085e53e3fbbf8306c50c08636f732d74657374a020301ea003020100a1030101ffa203010100a303010100a403010100a503010100"

func extension(t testing.TB) []byte {
	t.Helper()
	b, err := hex.DecodeString(real)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseInstance(t *testing.T) {
	got, err := parseInstance(extension(t))
	want := instance{
		zone: "us-central1-a", projectID: "google.com:wuale-gcp-testing", instanceName: "cos-test",
		projectNumber: 0x1b5a475c69, instanceID: 0x5e53e3fbbf8306c5, production: true,
	}
	if err != nil || *got != want {
		t.Fatalf("%+v, %v", got, err)
	}
	for name, c := range map[string][2]string{
		"something behind":                  {real, real + "00"},
		"not a sequence":                    {"306a0c", "316a0c"},
		"zone of another string type":       {"0c0d75732d", "130d75732d"},
		"zone with a slash":                 {"75732d6365", "75732f6365"},
		"zone not UTF-8":                    {"75732d6365", "75ff2d6365"},
		"project number negative":           {"02051b5a", "02059b5a"},
		"project number not shortest":       {"02051b5a475c69", "0205005a475c69"},
		"project number no integer":         {"02051b5a", "0a051b5a"},
		"instance id negative":              {"02085e53", "0208de53"},
		"no name":                           {"306a0c0d75732d63656e7472616c312d61", "30620c00"},
		"security properties of another":    {"a020301e", "a120301e"},
		"security properties no sequence":   {"a020301e", "a020311e"},
		"security property twice":           {"a303010100", "a203010100"},
		"security properties out of order":  {"a203010100a3", "a403010100a3"},
		"security property not in context":  {"a203010100", "0203010100"},
		"security property of two values":   {"a1030101ff", "a103050000"},
		"production spelt otherwise":        {"a1030101ff", "a103010101"},
		"production no boolean":             {"a1030101ff", "a1030201ff"},
		"security version no integer":       {"a003020100", "a003010100"},
		"security version without a number": {"a003020100", "a003050100"},
	} {
		in, err := hex.DecodeString(strings.Replace(real, c[0], c[1], 1))
		if err != nil || hex.EncodeToString(in) == real {
			t.Fatalf("%s: nothing replaced: %v", name, err)
		}
		if got, err := parseInstance(in); err == nil {
			t.Errorf("%s: accepted as %+v", name, got)
		}
	}
	seven := append(extension(t), 1, 1, 0xff)
	seven[1] += 3
	if got, err := parseInstance(seven); err == nil {
		t.Errorf("seven members: accepted as %+v", got)
	}
	if got, err := parseInstance(extension(t)[:40]); err == nil {
		t.Errorf("cut: accepted as %+v", got)
	}
}

// TestPinned compares the pinned certificates with the fingerprints in the source.
func TestPinned(t *testing.T) {
	roots, intermediates, err := Google()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range append(roots, intermediates...) {
		d := sha256.Sum256(c.Raw)
		got = append(got, hex.EncodeToString(d[:]))
	}
	want := "9bd5285f8fb18502a7947e621ffd470266f49fcd3b73e19a190f690ad32a7caf 594759594b9b61524f6c8ef668f7177f7b9066bc0674f2f49fe9e052be78beb2 " +
		"5d8dbcf8c8053dd8ffad711b6219355032b7122c34cac0f90ccb49def69ec504 7132b6ea71101f6c51bb58f98c3798c19b65be510eca0344318900510b593178 " +
		"c84de8116dfaf5a908f21e810487791f5437e206d00ad8025050cca6bd2ff627"
	if strings.Join(got, " ") != want {
		t.Errorf("pinned %q", got)
	}
	for _, c := range intermediates {
		if c.CheckSignatureFrom(roots[0]) != nil && c.CheckSignatureFrom(roots[1]) != nil {
			t.Errorf("%s is of no pinned root", c.Subject)
		}
	}
}

func FuzzInstance(f *testing.F) {
	f.Add(extension(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := parseInstance(b)
		if err == nil && (i.zone == "" || i.instanceName == "" || strings.Count(i.name(), "/") != 2) {
			t.Fatalf("%+v", i)
		}
	})
}
