package agent

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// hardened runs in a process of its own, see TestMain.
func hardened() int {
	if os.Getenv("OPENSKR_TEST_HARDEN") == "not hardened" {
		wait()
		return 0
	}
	if err := Harden(); err != nil {
		fmt.Println(err)
		return 1
	}
	var core unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &core); err != nil || core.Cur != 0 || core.Max != 0 {
		fmt.Println("core dumps are on:", core, err)
		return 1
	}
	if n, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || n != 0 {
		fmt.Println("dumpable:", n, err)
		return 1
	}
	if os.Getenv("OPENSKR_TEST_HARDEN") == "wait" {
		wait()
	}
	return 0
}

// wait says that this process is as it will be, and lives until its input ends.
func wait() {
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// AG-08: another program of the same user sees neither memory nor environment of this one.
func TestOthersSeeNothing(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root starts programs as another user")
	}
	nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	for mode, want := range map[string]bool{"wait": false, "not hardened": true} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env, cmd.SysProcAttr = []string{"OPENSKR_TEST_HARDEN=" + mode}, nobody
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
			t.Errorf("%s: %q", mode, line)
		}
		for _, name := range []string{"environ", "maps", "mem"} {
			peek := exec.Command("head", "-c", "0", fmt.Sprintf("/proc/%d/%s", cmd.Process.Pid, name))
			peek.SysProcAttr = nobody
			if said, err := peek.CombinedOutput(); (err == nil) != want {
				t.Errorf("%s: %s: %v: %s", mode, name, err, said)
			}
		}
		in.Close()
		_ = cmd.Wait()
	}
}

func TestHarden(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "OPENSKR_TEST_HARDEN=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
