package agent

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const swapsHead = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"

// kernel makes a folder of files that stand for /proc and /sys.
func kernel(t *testing.T, files map[string]string) (proc, sys string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "proc"), filepath.Join(dir, "sys")
}

// AG-12: which swap a key may be held beside.
func TestAG12Swap(t *testing.T) {
	const block = "sys/class/block/"
	for name, c := range map[string]struct {
		swaps string
		files map[string]string
		want  string // in the error, "" for none
	}{
		"partition":           {"/dev/vdb2 partition 1024 0 -2\n", map[string]string{block + "vdb2/size": "8"}, "swap /dev/vdb2 is not encrypted"},
		"random key":          {"/dev/dm-0 partition 1024 0 -2\n", map[string]string{block + "dm-0/dm/uuid": "CRYPT-PLAIN-swap\n"}, ""},
		"LUKS2":               {"/dev/dm-0 partition 1024 0 -2\n", map[string]string{block + "dm-0/dm/uuid": "CRYPT-LUKS2-00-swap\n"}, ""},
		"integrity alone":     {"/dev/dm-0 partition 1024 0 -2\n", map[string]string{block + "dm-0/dm/uuid": "CRYPT-INTEGRITY-00-swap\n"}, "/dev/dm-0"},
		"LVM":                 {"/dev/dm-1 partition 1024 0 -2\n", map[string]string{block + "dm-1/dm/uuid": "LVM-x\n", block + "dm-1/slaves/vdb/size": "8"}, "/dev/dm-1"},
		"LVM on LUKS":         {"/dev/dm-1 partition 1024 0 -2\n", map[string]string{block + "dm-1/dm/uuid": "LVM-x\n", block + "dm-1/slaves/dm-0/dm/uuid": "CRYPT-LUKS2-00-pv\n"}, ""},
		"half on LUKS":        {"/dev/md0 partition 1024 0 -2\n", map[string]string{block + "md0/slaves/dm-0/dm/uuid": "CRYPT-LUKS2-00-a\n", block + "md0/slaves/vdb/size": "8"}, "/dev/md0"},
		"zram":                {"/dev/zram0 partition 1024 0 100\n", map[string]string{block + "zram0/mm_stat": "0", block + "zram0/backing_dev": "none\n"}, ""},
		"zram, no write-back": {"/dev/zram0 partition 1024 0 100\n", map[string]string{block + "zram0/mm_stat": "0"}, ""},
		"zram with a disk":    {"/dev/zram0 partition 1024 0 100\n", map[string]string{block + "zram0/mm_stat": "0", block + "zram0/backing_dev": "/dev/vdb\n"}, "/dev/zram0"},
		"called zram":         {"/dev/zram0 partition 1024 0 100\n", map[string]string{block + "zram0/size": "8"}, "/dev/zram0"},
		"one of two":          {"/dev/dm-0 partition 1 0 1\n/dev/vdb partition 1 0 2\n", map[string]string{block + "dm-0/dm/uuid": "CRYPT-PLAIN-swap\n"}, "swap /dev/vdb is"},
		"name with a slash":   {"/dev/cciss/c0d0p1 partition 1 0 1\n", map[string]string{block + "cciss!c0d0p1/dm/uuid": "CRYPT-PLAIN-swap\n"}, ""},
		"file of nowhere":     {`/no\040such/file file 1 0 1` + "\n", nil, "/no such/file"},
		"list unknown":        {"/dev/vdb disk 1 0 1\n", nil, "unknown devices"},
		"list empty":          {"", nil, "unknown devices"},
		"no swap of a cgroup": {"/dev/vdb partition 1 0 1\n", map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.swap.max": "max\n", "sys/fs/cgroup/a/memory.swap.max": "0\n"}, ""},
		"of a container":      {"/dev/vdb partition 1 0 1\n", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.swap.max": "0\n"}, ""},
		"of another cgroup":   {"/dev/vdb partition 1 0 1\n", map[string]string{"proc/self/cgroup": "0::/../c\n", "sys/fs/cgroup/c/memory.swap.max": "0\n", "sys/fs/cgroup/memory.swap.max": "0\n"}, "/dev/vdb"},
		"some of a cgroup":    {"/dev/vdb partition 1 0 1\n", map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.swap.max": "4096\n"}, "/dev/vdb"},
		"version 1":           {"/dev/vdb partition 1 0 1\n", map[string]string{"proc/self/cgroup": "4:memory:/a\n", "sys/fs/cgroup/a/memory.swap.max": "0\n"}, "/dev/vdb"},
	} {
		files := map[string]string{"proc/swaps": swapsHead + c.swaps}
		for k, v := range c.files {
			files[k] = v
		}
		proc, sys := kernel(t, files)
		err := Swap{}.check(proc, sys, some, denied)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "--allow-swap") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func some() (uint64, error) { return 1, nil }
func denied() error         { return errors.New("memory cannot be locked") }

// AG-12: what makes up for swap that is not encrypted, and what does not.
func TestAG12MakesUp(t *testing.T) {
	proc, sys := kernel(t, map[string]string{"proc/swaps": swapsHead + "/dev/vdb partition 1 0 1\n"})
	locked := func() error { return nil }
	for name, c := range map[string]struct {
		swap  Swap
		total func() (uint64, error)
		lock  func() error
		ok    bool
	}{
		"nothing":                   {total: some, lock: denied},
		"no swap":                   {total: func() (uint64, error) { return 0, nil }, lock: denied, ok: true},
		"swap unknown":              {total: func() (uint64, error) { return 0, errors.New("no") }, lock: denied},
		"locked":                    {total: some, lock: locked, ok: true},
		"locked, but not its child": {swap: Swap{Children: true}, total: some, lock: locked},
	} {
		if err := c.swap.check(proc, sys, c.total, c.lock); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	said := ""
	if err := (Swap{Allowed: true, Notice: func(s string) { said = s }}).check(proc, sys, some, denied); err != nil || !strings.Contains(said, "/dev/vdb") {
		t.Errorf("allowed: %v, %q", err, said)
	}
	if err := (Swap{}).check(filepath.Join(proc, "hidden"), sys, some, denied); err == nil {
		t.Error("swap that is not listed")
	}
}

// A swap file is as safe as the device of its file system; overlays and the like have none.
func TestSwapFile(t *testing.T) {
	sys := t.TempDir()
	file := filepath.Join(t.TempDir(), "swap")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a := swapArea{path: file, file: true}
	if a.unreadable(sys) {
		t.Error("a device that is not known")
	}
	name, err := deviceOf(file)
	if err != nil {
		t.Fatal(err)
	}
	dm := filepath.Join(sys, "dev/block", name, "dm")
	if err := os.MkdirAll(dm, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dm, "uuid"), []byte("CRYPT-LUKS2-00-root\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !a.unreadable(sys) {
		t.Error("a file on an encrypted volume")
	}
}

func TestParseSwaps(t *testing.T) {
	got, err := parseSwaps([]byte(swapsHead + `/a\040b\134c file 1 0 1` + "\n/dev/vdb partition\t1\t0\t-2\n"))
	if want := []swapArea{{`/a b\c`, true}, {"/dev/vdb", false}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}

func FuzzParseSwaps(f *testing.F) {
	f.Add([]byte(swapsHead + "/dev/vdb partition 1 0 1\n"))
	f.Add([]byte(swapsHead + `/a\040b\0 file 1 0 1` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		areas, err := parseSwaps(b)
		if (err == nil) != (len(areas) > 0) {
			t.Errorf("%v, %v", areas, err)
		}
	})
}
