package local

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/enclave-agent/agenttest"
)

// pair is the two ends of a connection on a socket.
func pair(t *testing.T) (server, client *net.UnixConn) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(shortDir(t), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr)); err != nil {
		t.Fatal(err)
	}
	if server, err = l.AcceptUnix(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(); client.Close() })
	return server, client
}

func TestPeerOf(t *testing.T) {
	server, _ := pair(t)
	p, err := peerOf(server)
	if err != nil {
		t.Fatal(err)
	}
	if int(p.uid) != os.Getuid() || int(p.gid) != os.Getgid() || int(p.pid) != os.Getpid() || p.foreign {
		t.Errorf("%v, this is %d %d %d", p, os.Getuid(), os.Getgid(), os.Getpid())
	}
}

// What /proc says is read as proc(5) describes it.
func TestProc(t *testing.T) {
	const mountinfo = "21 1 0:20 / /proc rw - proc proc rw\n22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n99 22 0:50 /x / rw - overlay overlay rw\n"
	if got := rootOf([]byte(mountinfo)); got != "99" {
		t.Errorf("root mount %q", got)
	}
	if got := rootOf([]byte("21 1 0:20 / /proc rw\n22 /\n")); got != "" || got.own() {
		t.Errorf("root mount %q of a process that shows none", got)
	}
	if got := unified([]byte("1:cpu:/a\n0::/system.slice/a.service\n")); got != "/system.slice/a.service" {
		t.Errorf("cgroup %q", got)
	}
	if got := unified([]byte("1:name=systemd:0::/a\n")); got != "" {
		t.Errorf("cgroup %q", got)
	}
	if got := field([]byte("Name:\tNSpid:\nNSpid:\t12\t1\n"), "NSpid:"); len(got) != 2 {
		t.Errorf("levels %q", got)
	}
}

func TestCallersPeer(t *testing.T) {
	c, err := ParseConfig([]byte(`{"v":1,"socket":{"path":"/s"},"callers":[
		{"name":"user","user":"10"},
		{"name":"group","group":"20"},
		{"name":"both","user":"11","group":"21"},
		{"name":"unit","user":"12","cgroup":"/system.slice/a.service"},
		{"name":"slice","user":"12","cgroup":"/app.slice/"},
		{"name":"token","identity":{"environment":"/e"},"vaults":["https://v"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	all, err := newCallers(c, self())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		peer peer
		want string
	}{
		{peer{uid: 10}, "user"},
		{peer{uid: 10, gid: 20}, "user,group"},
		{peer{uid: 10, foreign: true}, ""},
		{peer{gid: 20, uid: 99}, "group"},
		{peer{gid: 20, uid: 99, foreign: true}, ""},
		{peer{uid: 11}, ""},
		{peer{gid: 21}, ""},
		{peer{uid: 11, gid: 21}, "both"},
		{peer{uid: 12}, ""},
		{peer{uid: 12, cgroup: "/system.slice/a.service"}, "unit"},
		{peer{uid: 12, cgroup: "/system.slice/a.service/x"}, ""},
		{peer{uid: 12, cgroup: "/system.slice/a.service", foreign: true}, "unit"},
		{peer{uid: 12, cgroup: "/app.slice/docker-1.scope", foreign: true}, "slice"},
		{peer{uid: 12, cgroup: "/app.slice"}, ""},
		{peer{uid: 12, cgroup: "/app.slicex/a"}, ""},
		{peer{uid: 13, cgroup: "/app.slice/a"}, ""},
		{peer{}, ""},
	} {
		if got := all.peer(&c.peer).names(); got != c.want {
			t.Errorf("%v is %q, want %q", &c.peer, got, c.want)
		}
	}
}

// AG-02: another user of the machine is refused, and the log says who that was.
func TestAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it runs a program as another user")
	}
	config := strings.Replace(onSocket(me(mayKey)), `"path"`, `"group":"65533","path"`, 1)
	s := serve(t, &fake{}, config)
	out := as(t, s.sock(), &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: other, Gid: other}})
	if !strings.HasPrefix(out, "403 Forbidden") {
		t.Errorf("answered %q", out)
	}
	if log := s.log.String(); !strings.Contains(log, "uid 65533") || !strings.Contains(log, "refused") {
		t.Errorf("log: %s", log)
	}
	if out := as(t, s.sock(), nil); !strings.HasPrefix(out, `200 OK {"message":"Status OK"}`) {
		t.Errorf("this user: %q", out)
	}
}

// AG-02: to a user outside the socket's group there is no socket.
func TestOutsideTheGroup(t *testing.T) {
	s := serve(t, &fake{}, onSocket(me(mayKey)))
	out := as(t, s.sock(), &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: other, Gid: other}})
	if !strings.Contains(out, "permission denied") {
		t.Errorf("answered %q", out)
	}
}

// AG-02, AG-11: a container has the user number, and is not meant by it.
func TestContainer(t *testing.T) {
	s := serve(t, &fake{}, onSocket(me(mayKey)))
	for name, flags := range map[string]uintptr{
		"PID namespace": syscall.CLONE_NEWPID, "mount namespace": syscall.CLONE_NEWNS, "both": syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
	} {
		if out := as(t, s.sock(), &syscall.SysProcAttr{Cloneflags: flags}); !strings.HasPrefix(out, "403 Forbidden") {
			t.Errorf("%s: answered %q", name, out)
		}
	}
	if log := s.log.String(); !strings.Contains(log, "in other namespaces") {
		t.Errorf("log: %s", log)
	}
}

// AG-11: a container is allowed by its cgroup.
func TestContainerByCgroup(t *testing.T) {
	server, _ := pair(t)
	p, err := peerOf(server)
	if err != nil {
		t.Fatal(err)
	}
	if p.cgroup == "" || p.cgroup == "/" {
		t.Skipf("this test runs in cgroup %q, which names nothing", p.cgroup)
	}
	s := serve(t, &fake{}, onSocket(me(`,"cgroup":"`+p.cgroup+`"`)))
	if out := as(t, s.sock(), &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}); !strings.HasPrefix(out, "200 OK") {
		t.Errorf("answered %q", out)
	}
}

// A process that is gone may have left its number to another.
func TestPeerIsGone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it runs a program as another user")
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(shortDir(t), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan *net.UnixConn, 1)
	go func() {
		c, err := l.AcceptUnix()
		if err != nil {
			t.Error(err)
		}
		_ = c.CloseWrite() // the program ends at once
		got <- c
	}()
	as(t, l.Addr().String(), nil)
	c := <-got
	defer c.Close()
	if p, err := peerOf(c); err == nil {
		t.Errorf("a process that ended is %v", p)
	}
}

// The key provider's protocol knows no callers: strangers are hung up on.
func TestGuarded(t *testing.T) {
	for rights, want := range map[string]bool{`,"keyprovider":true`: true, "": false, mayKey: false} {
		config := strings.Replace(onSocket(me(rights)), `"callers"`, `"keyprovider":{"address":"unix:%DIR%/k/p","keys":["`+agenttest.KeyURL+`"]},"callers"`, 1)
		s := serve(t, &fake{}, config)
		l := s.Provider()
		accepted := make(chan bool, 1)
		go func() {
			c, err := l.Accept()
			if err == nil {
				c.Close()
			}
			accepted <- err == nil
		}()
		c, err := net.Dial("unix", filepath.Join(s.dir, "k", "p"))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("%q: read %d, %v", rights, n, err)
		}
		if err := errors.Join(c.Close(), l.Close()); err != nil {
			t.Error(err)
		}
		if got := <-accepted; got != want || strings.Contains(s.log.String(), "refused") == want {
			t.Errorf("%q: accepted %v, log %s", rights, got, s.log.String())
		}
	}
}

func TestExited(t *testing.T) {
	c := exec.CommandContext(t.Context(), "sleep", "60")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(c.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if gone, err := exited(fd); err != nil || gone {
		t.Errorf("a process that runs: %v, %v", gone, err)
	}
	_ = c.Process.Kill()
	_ = c.Wait()
	if gone, err := exited(fd); err != nil || !gone {
		t.Errorf("a process that ended: %v, %v", gone, err)
	}
}

func TestNewCallers(t *testing.T) {
	dir := shortDir(t)
	token := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	grouped := token("group", testToken, 0o640)
	if os.Geteuid() == 0 {
		if err := os.Chown(grouped, -1, other); err != nil {
			t.Fatal(err)
		}
	}
	good := token("good", testToken+"\n", 0o600)
	for name, callers := range map[string]string{
		"no such user":     `{"name":"a","user":"no-such-user"}`,
		"no such group":    `{"name":"a","group":"no-such-group"}`,
		"number too large": `{"name":"a","user":"4294967296"}`,
		"no token":         `{"name":"a","token_file":"` + dir + `/none"}`,
		"token for all":    `{"name":"a","token_file":"` + token("open", testToken, 0o644) + `"}`,
		"token for some":   `{"name":"a","token_file":"` + grouped + `"}`,
		"short token":      `{"name":"a","token_file":"` + token("short", testToken[:31], 0o600) + `"}`,
		"two lines":        `{"name":"a","token_file":"` + token("lines", testToken+"\n"+testToken, 0o600) + `"}`,
		"same token":       `{"name":"a","token_file":"` + good + `"},{"name":"b","token_file":"` + token("same", testToken, 0o600) + `"}`,
	} {
		c, err := ParseConfig([]byte(`{"v":1,"tcp":{"address":"127.0.0.1:1"},"callers":[` + callers + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := newCallers(c, self()); !errors.Is(err, agent.ErrConfig) || strings.Contains(err.Error(), testToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
