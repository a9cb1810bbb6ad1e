package agent

import (
	"fmt"
	"testing"
)

func TestParsePCRs(t *testing.T) {
	for s, want := range map[string]string{
		"": "sha256 16", "7": "sha256 1", "1,0": "sha256 2", "sha384:0,23": "sha384 2",
		"x": "", "24": "", "-1": "", "1,1": "", "sha1:0": "", "sha256:": "", ",": "",
	} {
		sel, err := ParsePCRs(s)
		if got := fmt.Sprint(sel.Bank, " ", len(sel.PCRs)); (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("%q: %s, %v", s, got, err)
		}
	}
}
