package local

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/release/receipt"
)

// Checker looks, without changing anything, at what a server needs before its first
// request, and may run while one serves.
type Checker struct {
	Trust *receipt.Trust // agent.json; nil: hosts are not looked at
	// User serves, when root checks: its files are good, and it must be able to read what
	// it needs. "", or one that this machine has not: this program's own.
	User string
	// Notice is told what may be right: systemd makes it when the service starts.
	Notice func(string)

	who     owners
	serving int // uid of User
}

// Check reads workload.json and looks at all of it. Its error is everything that is
// wrong, each on a line, and wraps [agent.ErrConfig].
func (k Checker) Check(file string) (*Config, error) {
	k.who, k.serving = self(), os.Geteuid()
	if u, err := user.Lookup(k.User); err == nil && k.serving == 0 {
		if uid, err := strconv.Atoi(u.Uid); err == nil {
			k.who, k.serving = append(k.who, uid), uid
		}
	}
	c, err := readConfig(file, k.who)
	if err != nil {
		return nil, err
	}
	var problems []error
	for i := range c.Callers {
		problems = append(problems, k.caller(&c.Callers[i])...)
	}
	for _, p := range c.places() {
		if err := k.place(&p); err != nil {
			problems = append(problems, fmt.Errorf("%w: %s: %w", agent.ErrConfig, p.what, err))
		}
	}
	if problems == nil { // two callers with one token, which takes both
		_, err = newCallers(k.present(c), k.who)
		problems = append(problems, err)
	}
	if k.Trust != nil {
		problems = append(problems, c.checkHosts(k.Trust))
	}
	return c, errors.Join(problems...)
}

// credentials is where systemd shows a running service its credentials (systemd.exec(5)).
const credentials = "/run/credentials/"

// hidden says that a file is a credential that nobody sees but the running service.
func hidden(file string) bool {
	if !strings.HasPrefix(file, credentials) {
		return false
	}
	err := unix.Access(file, unix.R_OK)
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES)
}

// present is c without the callers whose tokens cannot be seen.
func (k *Checker) present(c *Config) *Config {
	seen := *c
	seen.Callers = slices.DeleteFunc(slices.Clone(c.Callers), func(one Caller) bool { return hidden(one.TokenFile) })
	return &seen
}

func (k *Checker) caller(c *Caller) (problems []error) {
	one := &caller{Caller: c}
	if hidden(c.TokenFile) {
		k.Notice(fmt.Sprintf("caller %s: %s is there when the service runs and has it by LoadCredential=: not looked at", c.Name, c.TokenFile))
		without := *c
		without.TokenFile = ""
		one.Caller = &without
	}
	for _, err := range one.identify(k.who) {
		problems = append(problems, fmt.Errorf("%w: caller %s: %w", agent.ErrConfig, c.Name, err))
	}
	if one.token != nil && !strings.HasPrefix(c.TokenFile, credentials) {
		var st unix.Stat_t
		if err := unix.Stat(c.TokenFile, &st); err == nil && int(st.Uid) != k.serving && k.serving != 0 {
			problems = append(problems, fmt.Errorf("%w: caller %s: %s is root's alone, and user %d serves: give it to that user, or hand it over by LoadCredential=",
				agent.ErrConfig, c.Name, c.TokenFile, k.serving))
		}
	}
	return problems
}

func (k *Checker) place(p *place) error {
	if p.kind == anAddress {
		return k.tcp(p.address)
	}
	if _, err := lookUp(p.group, groupID); err != nil {
		return err
	}
	if err := k.folder(filepath.Dir(p.address)); err != nil || p.kind == aFile {
		return err
	}
	return k.socket(p.address)
}

// folder is one that openFolder would take, or make.
func (k *Checker) folder(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Dir(path), &st); err != nil {
			return fmt.Errorf("folder %s: %w: only the last folder of a path is made", filepath.Dir(path), err)
		}
		if k.serving != 0 && int(st.Uid) != k.serving {
			k.Notice(fmt.Sprintf("folder %s is not there, and user %d may not be able to make it: RuntimeDirectory= of the unit does", path, k.serving))
		}
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	return errors.Join(judgeFolder(fd, path, k.who), unix.Close(fd))
}

// socket is free, left behind by an earlier run, or answered by this program.
func (k *Checker) socket(path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return &os.PathError{Op: "look at", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK || int(st.Uid) != k.serving {
		return errTaken
	}
	c, err := net.Dial("unix", path)
	if errors.Is(err, unix.ECONNREFUSED) {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.Close()
	u, ok := c.(*net.UnixConn)
	if !ok {
		return errAnswered
	}
	p, err := peerOf(u)
	if err != nil || int(p.uid) != k.serving || k.serving == 0 && !same(int(p.pid)) {
		return errors.Join(errAnswered, err)
	}
	return nil
}

// lowPort is the first that needs no right, unless net.ipv4.ip_unprivileged_port_start says
// another.
const lowPort = 1024

// tcp is an address that is free, or that this program listens on.
func (k *Checker) tcp(address string) error {
	at, aerr := netip.ParseAddrPort(address)
	l, err := take(address)
	if err == nil {
		if k.serving != os.Geteuid() && at.Port() < lowPort {
			k.Notice(fmt.Sprintf("%s: user %d listens there with CAP_NET_BIND_SERVICE alone: AmbientCapabilities= of the unit gives it", address, k.serving))
		}
		return l.Close()
	}
	if !errors.Is(err, unix.EADDRINUSE) || aerr != nil {
		return err
	}
	uid, inode, ok := listening(at)
	switch {
	case !ok:
		return fmt.Errorf("%w: another program has the port", err)
	case int(uid) == k.serving && (uid != 0 || same(holder(inode))):
		return nil
	}
	return fmt.Errorf("%w: a program of user %d has it (ss -tlnp names it), and user %d is to serve", err, uid, k.serving)
}

// same says that a process runs the program that this one is, by its name.
func same(pid int) bool {
	theirs, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
	own, oerr := os.Executable()
	theirs = strings.TrimSuffix(theirs, " (deleted)") // it was upgraded
	return err == nil && oerr == nil && pid > 0 && filepath.Base(theirs) == filepath.Base(own)
}
