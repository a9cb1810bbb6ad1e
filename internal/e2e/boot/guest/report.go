package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// reports is the socket where programs say what they were given; the console is root's.
const reports = "/run/e2e.sock"

// report says something as this program and its user.
func report(format string, args ...any) {
	c, err := net.Dial("unix", reports)
	if err == nil {
		_, err = fmt.Fprintf(c, format, args...)
		err = errors.Join(err, c.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// hearing waits for what the program of a unit reports.
type hearing func(unit string) string

func listen() (hearing, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: reports, Net: "unix"})
	if err != nil {
		return nil, err
	}
	return func(unit string) string {
		said, err := hear(l)
		if err != nil {
			said = err.Error() + ": " + command("journalctl", "--unit", unit, "--lines", "5", "--output", "cat")
		}
		return said
	}, os.Chmod(reports, 0o666)
}

func hear(l *net.UnixListener) (string, error) {
	if err := l.SetDeadline(time.Now().Add(limit)); err != nil {
		return "", err
	}
	c, err := l.AcceptUnix()
	if err != nil {
		return "", err
	}
	defer c.Close()
	var who *unix.Ucred
	raw, err := c.SyscallConn()
	if err != nil {
		return "", err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { who, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, failed, c.SetDeadline(time.Now().Add(limit))); err != nil {
		return "", err
	}
	b := make([]byte, 4096)
	n, err := c.Read(b)
	return fmt.Sprintf("user %s: %s", name(who.Uid), b[:n]), err
}

func name(uid uint32) string {
	u, err := user.LookupId(strconv.Itoa(int(uid)))
	if err != nil {
		return err.Error()
	}
	return u.Username
}
