// Package guest is the collecting half of SEV-SNP Evidence: it runs inside the guest
// and asks the processor for a report, through configfs-tsm (Linux 6.7) or else the
// device /dev/sev-guest. Package attest/snp verifies it.
package guest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/snp/format"
	tsm "github.com/openskr/openskr/attest/tsm/guest"
	"github.com/openskr/openskr/internal/strict"
)

const (
	reportSize = 1184
	maxTable   = 64 << 10 // bytes of a host's certificate table; a verifier takes no more
)

// ErrNoDevice says that this machine gives no SEV-SNP reports, or not to this user.
var ErrNoDevice = errors.New("no SEV-SNP guest device")

// Options of [Open]. The zero value is this machine's.
type Options struct {
	Type attest.Type // of the Evidence; "": attest.TypeSNP
	TSM  string      // folder of configfs-tsm; "": /sys/kernel/config/tsm
	Path string      // device; "": /dev/sev-guest
	VMPL uint32      // privilege level that the report is asked for, not below the caller's own
	FS   FS          // files of TSM; nil: the kernel's
}

// source makes reports. An answer that the host is busy wraps EAGAIN or EBUSY.
type source interface {
	report(reportData [64]byte, vmpl uint32) (report, table []byte, err error)
	Close() error
}

// Device makes reports. It is safe for concurrent use, which it serves one by one.
type Device struct {
	opts Options
	src  source
	turn *tsm.Turn
}

// Open finds the way to reports. An error wraps [ErrNoDevice] and says what was tried
// and what would help.
func Open(o Options) (*Device, error) {
	if o.Type == "" {
		o.Type = attest.TypeSNP
	}
	src, errTSM := openTSM(o)
	if errTSM != nil {
		var err error
		if src, err = openIoctl(o); err != nil {
			return nil, fmt.Errorf("%w: %w; %w", ErrNoDevice, errTSM, err)
		}
	}
	return &Device{opts: o, src: src, turn: tsm.NewTurn()}, nil
}

// Close gives the device back. A request under way is waited for.
func (d *Device) Close() error {
	d.turn.End()
	return d.src.Close()
}

// Evidence attests runtime data: the report data is its SHA-256 and zeros. The host's
// certificate table goes along as an endorsement, when it has one.
func (d *Device) Evidence(ctx context.Context, runtimeData []byte) (attest.Evidence, error) {
	var reportData [64]byte
	digest := binding.Digest(runtimeData)
	copy(reportData[:], digest[:])
	report, table, err := d.Report(ctx, reportData)
	if err != nil {
		return attest.Evidence{}, err
	}
	body, err := strict.Marshal(format.Evidence{Type: d.opts.Type, Report: report})
	if err != nil {
		return attest.Evidence{}, err
	}
	ev := attest.Evidence{Type: d.opts.Type, Body: body, RuntimeData: runtimeData}
	if len(table) > 0 {
		ev.Endorsements = []attest.Endorsement{{Type: attest.EndorsementCertificateTable, Data: table}}
	}
	return ev, nil
}

// Report gives a report over reportData, 1184 bytes, and the host's certificate table,
// nil when it has none. A host that is busy, because it limits how often guests may
// ask, is asked again until ctx ends.
func (d *Device) Report(ctx context.Context, reportData [64]byte) (report, table []byte, err error) {
	type answer struct{ report, table []byte }
	got, err := tsm.Ask(ctx, d.turn, busy, func() (a answer, err error) {
		a.report, a.table, err = d.src.report(reportData, d.opts.VMPL)
		return a, err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("SEV-SNP report: %w", err)
	}
	if len(got.report) != reportSize || [64]byte(got.report[0x50:0x90]) != reportData {
		return nil, nil, fmt.Errorf("SEV-SNP report: %d bytes, want %d over the given report data", len(got.report), reportSize)
	}
	if table, err = trim(got.table); err != nil {
		return nil, nil, fmt.Errorf("certificate table: %w", err)
	}
	return got.report, table, nil
}

func busy(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.EINTR)
}

// trim cuts a table (GHCB 4.1.8.1) behind its last entry: a host fills up whole pages.
// One without entries is nil.
func trim(table []byte) ([]byte, error) {
	const entry = 24 // GUID, offset, length
	end := 0
	for pos := 0; ; pos += entry {
		if len(table) < pos+entry {
			if pos == 0 {
				return nil, nil
			}
			return nil, errors.New("its header does not end")
		}
		if [entry]byte(table[pos:pos+entry]) == [entry]byte{} {
			if pos == 0 {
				return nil, nil
			}
			end = max(end, pos+entry)
			break
		}
		to := uint64(binary.LittleEndian.Uint32(table[pos+16:])) + uint64(binary.LittleEndian.Uint32(table[pos+20:]))
		if to > uint64(len(table)) {
			return nil, errors.New("an entry lies beyond it")
		}
		end = max(end, int(to))
	}
	if end > maxTable {
		return nil, fmt.Errorf("%d bytes, limit %d", end, maxTable)
	}
	return table[:end], nil
}
