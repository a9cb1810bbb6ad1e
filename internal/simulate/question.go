package simulate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/strict"
)

const maxQuestion = 4 << 10

// Question is what evidence is asked for.
type Question struct {
	V      int          `json:"v"`      // 1
	Signed attest.Bytes `json:"signed"` // what the hardware signs: 32 bytes
	Nonce  attest.Bytes `json:"nonce,omitempty"`
}

// Answer is evidence over it. Endorsements are those that a real machine has at hand.
type Answer struct {
	Type         attest.Type          `json:"type,omitempty"`
	Evidence     jsontext.Value       `json:"evidence,omitempty"` // body in the shape of the type's format package
	Endorsements []attest.Endorsement `json:"endorsements,omitempty"`
	Error        string               `json:"error,omitempty"`
}

// machine answers questions in JSON: hardware that programs reach through the kernel.
type machine struct {
	typ      attest.Type
	evidence func(q *Question) (body []byte, ends []attest.Endorsement, err error)
}

// asked is the device of such a machine.
func asked(typ attest.Type, evidence func(q *Question) ([]byte, []attest.Endorsement, error)) *Device {
	m := &machine{typ, evidence}
	return &Device{typ, func(ctx context.Context, l net.Listener) error { return each(ctx, l, m.converse) }}
}

// converse answers one question.
func (m *machine) converse(c net.Conn) error {
	a, err := m.answer(c)
	if err != nil {
		a = &Answer{Error: err.Error()}
	}
	out, err := strict.Marshal(a)
	if err != nil {
		return err
	}
	_, err = c.Write(append(out, '\n'))
	return err
}

func (m *machine) answer(r io.Reader) (*Answer, error) {
	line, err := bufio.NewReader(io.LimitReader(r, maxQuestion)).ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("want one line of at most %d bytes", maxQuestion)
	}
	q, err := ParseQuestion(bytes.TrimSuffix(line, []byte("\n")))
	if err != nil {
		return nil, err
	}
	body, ends, err := m.evidence(q)
	if err != nil {
		return nil, err
	}
	return &Answer{Type: m.typ, Evidence: body, Endorsements: ends}, nil
}

// ParseQuestion reads a question strictly.
func ParseQuestion(b []byte) (*Question, error) {
	var q Question
	if err := strict.Unmarshal(b, maxQuestion, &q); err != nil {
		return nil, err
	}
	if q.V != 1 || len(q.Signed) != 32 {
		return nil, errors.New("want v 1 and 32 signed bytes")
	}
	return &q, nil
}
