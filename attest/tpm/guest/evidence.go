package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/internal/strict"
)

// DefaultEventLog is where the kernel shows the firmware's log.
const DefaultEventLog = "/sys/kernel/security/tpm0/binary_bios_measurements"

// MaxEventLog bounds an event log in bytes; real ones have 20 to 100 kB.
const MaxEventLog = 512 << 10

const quoteTries = 3

// Evidence collects Evidence of type "tpm" whose quote covers runtimeData. With a
// recipient, sel must be the one it was made for, and [ErrPCRsChanged] says that
// its PCRs changed since; without one, the evidence proves state only.
func (t *TPM) Evidence(ctx context.Context, runtimeData []byte, sel Selection, r *Recipient) (attest.Evidence, error) {
	body, err := t.Part(ctx, runtimeData, sel, r)
	if err != nil {
		return attest.Evidence{}, err
	}
	out, err := strict.Marshal(body)
	if err != nil {
		return attest.Evidence{}, err
	}
	return attest.Evidence{Type: attest.TypeTPM, Body: out, RuntimeData: runtimeData}, nil
}

// Part is the body of [TPM.Evidence], for evidence in which a TPM is one part.
func (t *TPM) Part(ctx context.Context, runtimeData []byte, sel Selection, r *Recipient) (*format.Evidence, error) {
	log, err := t.eventLog()
	if err != nil {
		return nil, err
	}
	body := &format.Evidence{Type: attest.TypeTPM, EventLog: log}
	err = t.exclusive(ctx, func() error {
		if r != nil {
			if r.key == nil {
				return ErrRecipientSpent
			}
			if sel.Bank != r.state.Bank || !slices.Equal(sel.PCRs, r.state.PCRs) {
				return errors.New("selection differs from that of the recipient")
			}
			return t.collect(body, runtimeData, r.state, r.key)
		}
		for range quoteTries {
			var state *snapshot
			if state, err = t.snapshot(sel); err != nil {
				return err
			}
			if err = t.collect(body, runtimeData, state, nil); !errors.Is(err, ErrPCRsChanged) {
				return err
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return body, nil
}

// collect makes one quote and, for a recipient key, one certification, both over
// the hash of the runtime data.
func (t *TPM) collect(body *format.Evidence, runtimeData []byte, state *snapshot, key *object) (err error) {
	ak, err := t.loadAK()
	if err != nil {
		return err
	}
	defer t.unload(ak, &err)
	hash := binding.Digest(runtimeData)
	bound := tpm2.TPM2BData{Buffer: hash[:]}
	q, err := tpm2.Quote{
		SignHandle: ak.auth(empty()), QualifyingData: bound, PCRSelect: state.list(state.PCRs),
		InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
	}.Execute(t)
	if err != nil {
		return fmt.Errorf("quote: %w", err)
	}
	if err := shows(q, state); err != nil {
		return err
	}
	body.AK, body.PCRs = ak.bytes(), state.wire()
	body.Quote, body.Signature = q.Quoted.Bytes(), tpm2.Marshal(q.Signature)
	if key == nil {
		return nil
	}
	c, err := tpm2.Certify{
		ObjectHandle: key.auth(empty()), SignHandle: ak.auth(empty()), QualifyingData: bound,
		InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
	}.Execute(t)
	if err != nil {
		return fmt.Errorf("certify recipient key: %w", err)
	}
	body.Recipient = &format.Recipient{Public: key.bytes(), Certify: c.CertifyInfo.Bytes(), Signature: tpm2.Marshal(c.Signature)}
	return nil
}

// shows checks that the quote is of the values that were read.
func shows(q *tpm2.QuoteResponse, state *snapshot) error {
	a, err := q.Quoted.Contents()
	if err != nil {
		return fmt.Errorf("quote: %w", err)
	}
	info, err := a.Attested.Quote()
	if err != nil {
		return fmt.Errorf("quote: %w", err)
	}
	if !bytes.Equal(info.PCRDigest.Buffer, state.digest()) {
		return ErrPCRsChanged
	}
	return nil
}

// eventLog reads the log. A kernel without one is no error: such evidence has
// PCR values and nothing that explains them. A log that must not be read is one.
func (t *TPM) eventLog() ([]byte, error) {
	path := t.EventLog
	if path == "" {
		path = DefaultEventLog
	}
	f, err := os.Open(path)
	if t.EventLog == "" && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("event log: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxEventLog+1))
	if err != nil {
		return nil, fmt.Errorf("event log: %w", err)
	}
	if len(b) > MaxEventLog {
		return nil, fmt.Errorf("event log %s has more than %d bytes", path, MaxEventLog)
	}
	return b, nil
}
