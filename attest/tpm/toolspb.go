package tpm

import (
	"errors"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/internal/strict"
)

// maxAttestation bounds an attestation of go-tpm-tools: a log and a few quotes.
const maxAttestation = MaxEventLog + 256<<10

// FromAttestation turns an attest.Attestation of go-tpm-tools (protobuf, as
// written by `gotpm attest`) into Evidence for offline verification: its SHA-256
// quote, or else its SHA-384 one, and the AK certificate as an endorsement. It
// verifies nothing. Runtime data and recipient are absent; a TEE's report inside
// is left out.
//
// Only the fields needed are read, straight off the wire, so that this package
// does not link the generated code and its registry.
func FromAttestation(pb []byte) (attest.Evidence, error) {
	if len(pb) > maxAttestation {
		return attest.Evidence{}, fmt.Errorf("attestation of %d bytes, limit %d", len(pb), maxAttestation)
	}
	body := format.Evidence{Type: attest.TypeTPM}
	var ends []attest.Endorsement
	var quotes [][]byte
	err := fields(pb, func(num protowire.Number, _ uint64, b []byte) error {
		switch num {
		case 1:
			body.AK = b
		case 2:
			quotes = append(quotes, b)
		case 3:
			body.EventLog = b
		case 6:
			ends = []attest.Endorsement{{Type: attest.EndorsementAKCertificate, Data: b}}
		}
		return nil
	})
	if err != nil {
		return attest.Evidence{}, fmt.Errorf("attestation: %w", err)
	}
	if err := chooseQuote(&body, quotes); err != nil {
		return attest.Evidence{}, err
	}
	enc, err := strict.Marshal(&body)
	return attest.Evidence{Type: attest.TypeTPM, Body: enc, Endorsements: ends}, err
}

// chooseQuote takes the quote over the SHA-256 bank, or else SHA-384.
func chooseQuote(body *format.Evidence, quotes [][]byte) error {
	for _, bank := range []string{"sha256", "sha384"} {
		for _, b := range quotes {
			q, name, err := readQuote(b)
			if err != nil {
				return fmt.Errorf("attestation: %w", err)
			}
			if name == bank {
				body.Quote, body.Signature, body.PCRs = q.Quote, q.Signature, q.PCRs
				return nil
			}
		}
	}
	return errors.New("attestation: no quote over a SHA-256 or SHA-384 bank")
}

// readQuote reads tpm.Quote; the bank's name is empty for one not used here.
func readQuote(b []byte) (q format.Evidence, bank string, err error) {
	values := map[string]attest.Bytes{}
	err = fields(b, func(num protowire.Number, _ uint64, b []byte) error {
		switch num {
		case 1:
			q.Quote = b
		case 2:
			q.Signature = b
		case 3:
			return fields(b, func(num protowire.Number, v uint64, b []byte) error {
				switch {
				case num == 1 && v == algSHA256:
					bank = "sha256"
				case num == 1 && v == algSHA384:
					bank = "sha384"
				case num == 2:
					return readPCR(values, b)
				}
				return nil
			})
		}
		return nil
	})
	q.PCRs = map[string]map[string]attest.Bytes{bank: values}
	return q, bank, err
}

// readPCR reads one entry of the map; an absent key is index 0.
func readPCR(values map[string]attest.Bytes, b []byte) error {
	var index uint64
	var value []byte
	err := fields(b, func(num protowire.Number, v uint64, b []byte) error {
		if num == 1 {
			index = v
		} else if num == 2 {
			value = b
		}
		return nil
	})
	values[strconv.FormatUint(index, 10)] = value
	return err
}

// fields calls fn for every varint (v) and length-delimited (b) field.
func fields(msg []byte, fn func(num protowire.Number, v uint64, b []byte) error) error {
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return protowire.ParseError(n)
		}
		msg = msg[n:]
		var v uint64
		var b []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(msg)
		case protowire.BytesType:
			b, n = protowire.ConsumeBytes(msg)
		default:
			n = protowire.ConsumeFieldValue(num, typ, msg)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		msg = msg[n:]
		if typ == protowire.VarintType || typ == protowire.BytesType {
			if err := fn(num, v, b); err != nil {
				return err
			}
		}
	}
	return nil
}
