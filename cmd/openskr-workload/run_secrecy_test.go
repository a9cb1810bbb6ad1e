package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/openskr/openskr/internal/canary"
)

// TestRunHoldsNothing: no byte of a secret is in the supervisor, whatever the form,
// neither when the program runs nor when it has a new version.
func TestRunHoldsNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("reads the memory of another process, which needs root")
	}
	for _, form := range []string{"--secret", "--secret-fd", "--secret-file"} {
		t.Run(form, func(t *testing.T) {
			m := newBed(t)
			dir := t.TempDir()
			args := []string{form, "SECRET=default/s", "--watch", "1s", "--secret-dir", filepath.Join(dir, "secrets")}
			if form == "--secret-file" {
				args = append(args, "--on-change", "signal=HUP")
			}
			values := []string{random(), random()}
			token := []byte(random())
			look, err := canary.New([]byte(values[0]), []byte(values[1]), token)
			if err != nil {
				t.Fatal(err)
			}
			m.b.Change(func() { m.b.Material, m.b.Secrets["s"] = token, values[:1] })
			r := m.run(nil, args...)
			r.says("ready " + values[0])
			m.set(values[1])
			if form == "--secret-file" {
				r.says("signal hangup " + values[1])
			} else {
				r.says("signal terminated " + values[0])
				r.says("ready " + values[1])
			}
			if found, err := look.Process(r.cmd.Process.Pid); err != nil || len(found) != 0 {
				t.Errorf("in the supervisor: %.2000s, %v", found, err)
			}
			if found, err := look.Files(dir); err != nil || len(found) != 0 {
				t.Errorf("on disk: %v, %v", found, err)
			}
			// The program is where it is, by design: the scan does find things.
			if found, err := look.Process(r.child()); err != nil || len(found) == 0 {
				t.Errorf("in the program: %v, %v", found, err)
			}
			r.tell("exit")
			r.ends("exit status 9")
		})
	}
}

// random is as short as the scan takes it, which is slow.
func random() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// child is the process id of the program.
func (r *running) child() int {
	r.Helper()
	list := r.children()
	pid, err := strconv.Atoi(list[0])
	if err != nil {
		r.Fatal(list, err)
	}
	return pid
}

func (r *running) children() []string {
	r.Helper()
	pattern := fmt.Sprintf("/proc/%d/task/*/children", r.cmd.Process.Pid)
	files, err := filepath.Glob(pattern)
	if err != nil {
		r.Fatal(err)
	}
	var list []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			r.Fatal(err)
		}
		list = append(list, strings.Fields(string(b))...)
	}
	if len(list) == 0 {
		r.Fatal("no children in " + pattern)
	}
	return list
}

// AG-08: nobody of the same user looks into the supervisor, and there is nothing in what
// everybody sees of it.
func TestRunIsClosed(t *testing.T) {
	m := newBed(t)
	secret := random()
	m.b.Change(func() { m.b.Secrets["s"] = []string{secret} })
	r := m.run(nil, "--secret", "SECRET=default/s")
	r.says("ready " + secret)
	proc := fmt.Sprintf("/proc/%d/", r.cmd.Process.Pid)
	for _, file := range []string{"cmdline", "environ"} {
		if b, err := os.ReadFile(proc + file); err == nil && strings.Contains(string(b), secret) {
			t.Errorf("%s shows the secret", file)
		}
	}
	limits, err := os.ReadFile(proc + "limits")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.Join(strings.Fields(string(limits)), " "), "Max core file size 0 0 bytes") {
		t.Errorf("a core dump is possible:\n%s", limits)
	}
	// What belongs to a process that is not dumpable belongs to root.
	if fi, err := os.Stat(proc + "mem"); err != nil || fi.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("%v, %v", fi, err)
	}
	if os.Geteuid() == 0 {
		for _, file := range []string{"mem", "environ", "maps"} {
			cmd := exec.Command("head", "-c1", proc+file)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "Permission denied") {
				t.Errorf("another user reads %s: %q, %v", file, out, err)
			}
		}
	}
	r.tell("exit")
	r.ends("exit status 9")
}

// AG-10: without the right to mount, files are only written into a folder that is in
// memory and nobody else's, over nothing, and removed at the end.
func TestRunFolder(t *testing.T) {
	m := newBed(t)
	shm, err := os.MkdirTemp("/dev/shm", "run")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(shm) })
	make := func(name string, mode os.FileMode, file string) string {
		dir := filepath.Join(shm, name)
		if err := os.Mkdir(dir, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if file != "" {
			if err := unix.Mkfifo(filepath.Join(dir, file), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	good := make("good", 0o700, "OTHER")
	link := filepath.Join(shm, "link")
	if err := os.Symlink(good, link); err != nil {
		t.Fatal(err)
	}
	for dir, why := range map[string]string{
		t.TempDir():                    "is not in memory",
		make("open", 0o750, ""):        "is open to others",
		make("taken", 0o700, "SECRET"): "SECRET exists: it is not overwritten",
		link:                           "not a directory",
		filepath.Join(shm, "absent"):   "no such file or directory",
	} {
		r := m.run(unprivileged, "--secret-file", "SECRET=default/s", "--secret-dir", dir)
		r.notes(why)
		_ = r.cmd.Wait()
	}
	reads := 0
	m.b.Change(func() { reads = m.b.Reads })
	if reads != 0 {
		t.Errorf("%d reads for folders that are refused", reads)
	}
	r := m.run(unprivileged, "--secret-file", "SECRET=default/s", "--secret-dir", good, "--watch", "1s")
	r.says("ready one")
	if fi, err := os.Lstat(filepath.Join(good, "SECRET")); err != nil || fi.Mode() != 0o400 {
		t.Errorf("%v, %v", fi, err)
	}
	m.set("two")
	r.says("signal terminated one")
	r.says("ready two")
	r.tell("exit")
	r.ends("exit status 9")
	if left, err := os.ReadDir(good); err != nil || len(left) != 1 || left[0].Name() != "OTHER" {
		t.Errorf("left %v, %v", left, err)
	}
}

// unprivileged runs a command without the right to mount.
func unprivileged(c *exec.Cmd) {
	if os.Geteuid() == 0 {
		c.Args = append([]string{"setpriv", "--bounding-set=-sys_admin", c.Path}, c.Args[1:]...)
		c.Path, c.Err = exec.LookPath("setpriv")
	}
}

// As PID 1 of a container it waits for what others leave, and the program's end is told
// by a code.
func TestRunAsInit(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("makes a PID namespace, which needs root")
	}
	r := newBed(t).run(func(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID} }, "--secret", "SECRET=default/s")
	r.says("ready one")
	r.tell("orphan")
	r.says("orphaned <nil>")
	for tries := 0; len(r.children()) > 1; tries++ { // each signal goes round the loop that waits
		if tries == 1000 {
			t.Fatal("an orphan is left", r.children())
		}
		r.signal(unix.SIGUSR1)
		r.says("signal user defined signal 1 one")
	}
	r.tell("die")
	r.ends("exit status 143")
}

// A terminal sends its signals to program and supervisor, so they are not passed on a
// second time; those of anybody else are.
func TestRunOnTerminal(t *testing.T) {
	m := newBed(t)
	master, slave := terminal(t)
	defer master.Close()
	r := m.run(func(c *exec.Cmd) {
		c.Stdin = slave
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	}, "--secret", "SECRET=default/s")
	if err := slave.Close(); err != nil {
		t.Fatal(err)
	}
	r.says("ready one")
	for range 3 {
		if _, err := master.WriteString("\x03"); err != nil {
			t.Fatal(err)
		}
		r.says("signal interrupt one")
		r.signal(unix.SIGHUP)
		r.says("signal hangup one")
	}
	if _, err := master.WriteString("exit\n"); err != nil {
		t.Fatal(err)
	}
	r.ends("exit status 9")
}
