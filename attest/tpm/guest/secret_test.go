package guest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// AG-12: the kernel keeps the pages of a secret out of swap (lo) and out of core dumps (dd).
func TestSecretIsLocked(t *testing.T) {
	s, err := TakeSecret([]byte("canary-value"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !s.locked {
		t.Skip("no right to lock a page here")
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	_, region, found := strings.Cut(string(smaps), strings.TrimPrefix(fmt.Sprintf("%p", s.mem), "0x")+"-")
	_, line, flagged := strings.Cut(region, "VmFlags: ")
	line, _, _ = strings.Cut(line, "\n")
	flags := strings.Fields(line)
	if !found || !flagged || !slices.Contains(flags, "lo") || !slices.Contains(flags, "dd") {
		t.Errorf("flags of the pages: %q", flags)
	}
}
