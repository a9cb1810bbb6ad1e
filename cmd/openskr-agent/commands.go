package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"time"

	agent "github.com/openskr/openskr/enclave-agent"
)

func (p *program) enroll(ctx context.Context) error {
	return p.with(ctx, func(a *agent.Agent) error {
		res, err := a.Enroll(ctx)
		if err != nil {
			return err
		}
		err = p.print(struct {
			MachineID string `json:"machine_id"`
			Status    string `json:"status"`
		}{res.MachineID, res.Status}, "machine %s is %s\n", res.MachineID, res.Status)
		switch {
		case err != nil:
			return err
		case res.Status == "pending":
			return fmt.Errorf("%w: an operator approves it with: openskr machine approve %s", agent.ErrPending, res.MachineID)
		case res.Status != "approved":
			return &agent.Refused{Status: 403, Code: "Forbidden", Reason: "machine_denied"}
		}
		return nil
	})
}

// released is the report on a key, which is not part of it.
type released struct {
	KID      string    `json:"kid"`
	LogIndex int64     `json:"log_index"`
	Policy   string    `json:"policy,omitempty"` // of a key
	Decided  time.Time `json:"decided"`
	Machine  string    `json:"machine,omitempty"`
	Written  string    `json:"written"`
}

func (p *program) released(r *agent.Released, written string) error {
	out := released{
		KID: r.KID, LogIndex: r.Receipt.Index, Decided: time.UnixMilli(r.Record.Time).UTC(), Written: written,
	}
	what := r.KID
	if r.Record.Version == "" {
		what = "token for " + r.KID
	} else {
		out.Policy = r.Record.Policy.String()
	}
	if r.Record.Caller != nil {
		out.Machine = r.Record.Caller.ID
	}
	if p.fd == 1 { // standard output holds the key
		return nil
	}
	return p.print(out, "%s released to %s (log entry %d)\n", what, written, r.Receipt.Index)
}

func (p *program) keyGet(ctx context.Context) error {
	return p.with(ctx, func(a *agent.Agent) (err error) {
		if err := p.writable(); err != nil {
			return err
		}
		r, err := a.Key(ctx, p.url)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.Material.Close()) }()
		if p.fd >= 0 {
			if err := agent.WriteFD(p.fd, r.Material.Bytes()); err != nil {
				return err
			}
			return p.released(r, fmt.Sprintf("file descriptor %d", p.fd))
		}
		if err := agent.WriteFile(p.out, r.Material.Bytes()); err != nil {
			return err
		}
		return p.released(r, p.out)
	})
}

// token prints, or writes, an attested access token.
func (p *program) token(ctx context.Context) error {
	return p.with(ctx, func(a *agent.Agent) (err error) {
		if p.out != "" {
			if err := agent.CheckFile(p.out); err != nil {
				return err
			}
		}
		r, err := a.Token(ctx, p.url)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.Material.Close()) }()
		if p.out == "" {
			_, err := fmt.Fprintf(p.stdout, "%s\n", r.Material.Bytes())
			return err
		}
		if err := agent.WriteFile(p.out, r.Material.Bytes()); err != nil {
			return err
		}
		return p.released(r, p.out)
	})
}

// writable refuses an unfit target before a key is released for it.
func (p *program) writable() error {
	if p.fd >= 0 {
		return agent.WriteFD(p.fd, nil)
	}
	return agent.CheckFile(p.out)
}

func (p *program) decrypt(ctx context.Context) error {
	return p.with(ctx, func(a *agent.Agent) error {
		r, err := a.Decrypt(ctx, p.file, p.out, p.key)
		if err != nil {
			return err
		}
		return p.released(r, p.out)
	})
}

func (p *program) evidence(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	var data []byte
	if p.runtimeData != "" {
		var err error
		if data, err = agent.ReadBounded(p.runtimeData, agent.MaxRuntimeData); err != nil {
			return err
		}
	}
	out, err := agent.Evidence(ctx, p.hardware, data)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "%s\n", out)
	return err
}

// detect prints which platform this is and what else was looked for.
func (p *program) detect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	d := agent.Detect(ctx, p.hardware)
	if d.Platform == "" && !p.json {
		return d
	}
	if err := p.print(d, "%s%s\n", d.Platform, d.List()); err != nil {
		return err
	}
	if d.Platform == "" {
		return agent.ErrNoHardware
	}
	return nil
}

func (p *program) version(context.Context) error {
	version, built := agent.BuildInfo()
	return p.print(struct {
		Version string    `json:"version"`
		Built   time.Time `json:"built,omitzero"`
		Go      string    `json:"go"`
	}{version, built, runtime.Version()}, "openskr-agent %s %s\n", version, runtime.Version())
}

// print writes a result: one JSON object with --json, else a line for a person.
func (p *program) print(v any, format string, args ...any) error {
	if !p.json {
		_, err := fmt.Fprintf(p.stdout, format, args...)
		return err
	}
	e := json.NewEncoder(p.stdout)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// report writes an error: with --json an object with exit code and reason.
func (p *program) report(err error) {
	if !p.json {
		fmt.Fprintf(p.stderr, "openskr-agent: %v\n", err)
		return
	}
	b, _ := json.Marshal(agent.Report(err)) // strings and a number
	fmt.Fprintf(p.stderr, "%s\n", b)
}
