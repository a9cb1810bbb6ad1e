package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/enclave-agent/boot"
)

// unlocker opens the hardware for each disk anew: what is not there yet may come.
func (p *program) unlocker() boot.Unlocker {
	return boot.Unlocker{
		Keys:    func(ctx context.Context) (boot.Keys, error) { return p.open(ctx) },
		Cap:     func(ctx context.Context, pcr int, event string) error { return agent.Cap(ctx, p.hardware, pcr, event) },
		CapRTMR: func(_ context.Context, rtmr int, event string) error { return agent.CapRTMR(p.hardware, rtmr, event) },
		Shown:   p.hardware.Shown, Console: p.console(), Timeout: p.timeout,
	}
}

// console is standard error; what boots a machine also speaks to the kernel's log.
func (p *program) console() *boot.Console {
	return &boot.Console{Err: p.stderr, Kernel: p.disk.powerOff}
}

func (p *program) unlock(ctx context.Context) error {
	d, err := p.entry()
	if err != nil {
		return p.closed(err)
	}
	u := p.unlocker()
	out, err := u.Unlock(ctx, p.disk.name, d)
	if err != nil {
		return p.closed(err)
	}
	how := "with key " + out.Key
	if out.Recovered {
		how = "with the recovery key"
	}
	return p.print(out, "/dev/mapper/%s is %s, opened %s\n", out.Name, out.Device, how)
}

// closed ends the machine, when that was asked for, because a volume stays closed.
func (p *program) closed(err error) error {
	if !p.disk.powerOff {
		return err
	}
	p.console().Fail("%v", err)
	return errors.Join(err, p.powerOff())
}

// entry is the disk that the options and disks.json describe. disks.json is not read when
// the options say all.
func (p *program) entry() (boot.Disk, error) {
	o := &p.disk
	d := boot.Disk{Device: o.device, Key: p.key, Recovery: boot.Prompt, Cap: agent.DefaultCap}
	if o.device == "" || !o.key {
		disks, err := boot.ReadDisks(o.disks)
		if err != nil {
			return d, err
		}
		var ok bool
		if d, ok = disks[o.name]; !ok {
			return d, fmt.Errorf("%w: %s has no disk %q; add it, or give --device and --key", agent.ErrConfig, o.disks, o.name)
		}
		if o.device != "" {
			d.Device = o.device
		}
		if o.key {
			d.Key = p.key
		}
	}
	if o.recoverySet {
		d.Recovery = boot.Recovery(o.recovery)
	}
	switch {
	case o.capSet:
		if err := agent.CheckCap(o.cap); err != nil {
			return d, err
		}
		d.Cap = o.cap
	case o.noCap:
		d.Cap = boot.NoCap
	}
	if o.capRTMR != 0 {
		d.RTMR = o.capRTMR
	}
	return d, d.Check(o.name)
}

func (p *program) crypttabHeader(ctx context.Context) error {
	d, err := p.entry()
	if err != nil {
		return err
	}
	u := p.unlocker()
	digest, err := u.CopyHeader(ctx, p.disk.name, d)
	if err != nil {
		return err
	}
	file := boot.HeaderFile(p.disk.name)
	return p.print(struct {
		Name   string `json:"name"`
		File   string `json:"file"`
		Header string `json:"header"`
	}{p.disk.name, file, digest}, "header of %s is in %s\n", p.disk.name, file)
}

func (p *program) crypttabCap(ctx context.Context) error {
	// A unit runs this for every volume, and powers the machine off when it fails.
	disks, err := boot.ReadDisks(p.disk.disks)
	if err != nil {
		return err
	}
	out := struct {
		Register string `json:"register,omitempty"`
		Capped   bool   `json:"capped"`
	}{}
	d, ok := disks[p.disk.name]
	if !ok {
		return p.print(out, "%s has no disk %q: nothing is capped\n", p.disk.disks, p.disk.name)
	}
	if d.Cap == boot.NoCap {
		return p.print(out, "%s has no cap\n", p.disk.name)
	}
	u := p.unlocker()
	register, err := u.CapAfter(ctx, p.disk.name, d)
	switch {
	case errors.Is(err, boot.ErrUncapped):
		return p.print(out, "%v\n", err)
	case err != nil:
		return err
	}
	out.Register, out.Capped = register, true
	return p.print(out, "%s is capped\n", register)
}

// idle is how long a key socket is served without a connection.
const idle = time.Minute

func (p *program) crypttabServe(ctx context.Context) error {
	disks, err := boot.ReadDisks(p.disk.disks)
	if err != nil {
		return p.closed(err)
	}
	l, err := activated()
	if err != nil {
		return err
	}
	defer l.Close()
	s := &boot.Server{Unlocker: p.unlocker(), Disks: disks, Idle: idle}
	s.Closed = func() {
		if p.disk.powerOff {
			if err := p.powerOff(); err != nil {
				p.report(err)
			}
		}
	}
	return s.Serve(ctx, l)
}

// activated is the socket that systemd passes (sd_listen_fds(3)).
func activated() (*net.UnixListener, error) {
	const first = 3
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) || os.Getenv("LISTEN_FDS") != "1" {
		return nil, fmt.Errorf("%w: crypttab serve is started by systemd with one socket", agent.ErrConfig)
	}
	f := os.NewFile(first, "key socket")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("%w: key socket: %w", agent.ErrConfig, err)
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%w: the key socket is no Unix socket", agent.ErrConfig), l.Close())
	}
	u.SetUnlinkOnClose(false) // it is systemd's
	return u, nil
}

func (p *program) sealDisk(ctx context.Context) error {
	if p.disk.updateHeader {
		return p.updateHeader(ctx)
	}
	keep, err := p.recoveryKeeper()
	if err != nil {
		return err
	}
	token, err := p.operatorToken()
	if err != nil {
		return err
	}
	return p.with(ctx, func(a *agent.Agent) error {
		s := &boot.Seal{Device: p.file, Key: p.key, Erase: p.disk.erase, Recovery: keep}
		out, err := s.Seal(ctx, a)
		if err != nil {
			return err
		}
		return p.sealed(ctx, a, out, token)
	})
}

// updateHeader records a header that was changed. Without --token it asks nobody.
func (p *program) updateHeader(ctx context.Context) error {
	u := &boot.Update{Device: p.file, Key: p.key}
	if p.disk.token == "" {
		out, err := u.Update(ctx)
		if err != nil {
			return err
		}
		return p.recorded(out, false)
	}
	token, err := p.operatorToken()
	if err != nil {
		return err
	}
	return p.with(ctx, func(a *agent.Agent) error {
		u.Record = func(ctx context.Context, keyURL string, change func(string) string) error {
			return a.Tag(ctx, keyURL, token, boot.HeaderTag, change)
		}
		out, err := u.Update(ctx)
		if err != nil {
			return err
		}
		return p.recorded(out, true)
	})
}

// sealed records the header with the key, or says what an operator runs to do so.
func (p *program) sealed(ctx context.Context, a *agent.Agent, s *boot.Sealed, token string) error {
	if token == "" {
		return p.recorded(s, false)
	}
	if err := a.Tag(ctx, s.Key, token, boot.HeaderTag, func(string) string { return s.Header }); err != nil {
		return fmt.Errorf("the disk is sealed, but its header is not recorded; an operator does that with: %s: %w", s.Command(), err)
	}
	return p.recorded(s, true)
}

// recorded reports on a header that is on the disk.
func (p *program) recorded(s *boot.Sealed, done bool) error {
	out := struct {
		*boot.Sealed
		Recorded bool   `json:"recorded"`
		Command  string `json:"command,omitempty"`
	}{Sealed: s, Recorded: done}
	if done {
		return p.print(out, "%s is sealed to %s\nits header is recorded with the key: %s\n", s.Device, s.Key, s.Header)
	}
	out.Command = s.Command()
	return p.print(out, "%s is sealed to %s\nits header is %s\nthe disk is not unlocked until an operator records that:\n  %s\n",
		s.Device, s.Key, s.Header, out.Command)
}

// recoveryKeeper is where the recovery key goes: a new file, a terminal, or nowhere when
// there is to be none.
func (p *program) recoveryKeeper() (func([]byte) error, error) {
	o := &p.disk
	switch {
	case o.noRecovery:
		return nil, nil
	case o.recoveryOut != "":
		if err := agent.CheckFile(o.recoveryOut); err != nil {
			return nil, err
		}
		return func(key []byte) error { return agent.WriteFile(o.recoveryOut, key) }, nil
	}
	show, err := boot.ShowOnce()
	if err != nil {
		return nil, fmt.Errorf("%w: seal-disk needs --recovery-out FILE, or --no-recovery, where there is no terminal to show the recovery key on", agent.ErrConfig)
	}
	return show, nil
}

const maxToken = 64 << 10

// operatorToken reads --token, "" without it.
func (p *program) operatorToken() (string, error) {
	if p.disk.token == "" {
		return "", nil
	}
	b, err := agent.ReadBounded(p.disk.token, maxToken)
	if err != nil {
		return "", fmt.Errorf("%w: --token: %w", agent.ErrConfig, err)
	}
	return strings.TrimSpace(string(b)), nil
}
