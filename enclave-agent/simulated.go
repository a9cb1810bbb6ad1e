package agent

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/strict"
)

const (
	simulatorLimit = 10 * time.Second
	maxAnswer      = 1 << 20
)

// simulated asks the process that plays the hardware (`openskr simulate`, package
// internal/simulate has the protocol). It holds no key and forges nothing.
type simulated struct {
	platform attest.Type
	socket   string
}

// simulation is a line of the simulator.
type simulation struct {
	Type         attest.Type          `json:"type"`
	Evidence     jsontext.Value       `json:"evidence"`
	Endorsements []attest.Endorsement `json:"endorsements"`
	Error        string               `json:"error"`
}

func openSimulated(_ context.Context, h *Hardware) (Attester, error) {
	s := &simulated{h.Platform, h.Simulator}
	return &tee{h.Platform, s.evidence, func() error { return nil }}, nil
}

func (s *simulated) evidence(ctx context.Context, ask Ask, _ []byte) (attest.Evidence, error) {
	a, err := s.ask(ctx, ask)
	if err != nil {
		return attest.Evidence{}, err
	}
	return attest.Evidence{Type: s.platform, Body: a.Evidence, RuntimeData: ask.RuntimeData, Endorsements: a.Endorsements}, nil
}

// ask exchanges one line for one line.
func (s *simulated) ask(ctx context.Context, ask Ask) (_ *simulation, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w: simulator at %s: %w", ErrNoHardware, s.socket, err)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, simulatorLimit)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", s.socket)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	signed := sha256.Sum256(ask.RuntimeData)
	q, err := strict.Marshal(struct {
		V      int          `json:"v"`
		Signed attest.Bytes `json:"signed"`
		Nonce  attest.Bytes `json:"nonce,omitempty"`
	}{1, signed[:], ask.Nonce})
	if err != nil {
		return nil, err
	}
	if _, err := c.Write(append(q, '\n')); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(io.LimitReader(c, maxAnswer)).ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("no whole line of at most %d bytes: %w", maxAnswer, err)
	}
	var a simulation
	if err := strict.Unmarshal(line, maxAnswer, &a); err != nil {
		return nil, err
	}
	switch {
	case a.Error != "":
		return nil, fmt.Errorf("it says: %.200q", a.Error)
	case a.Type != s.platform:
		return nil, fmt.Errorf("it plays %.32q, not %s", a.Type, s.platform)
	}
	return &a, nil
}
