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
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/snp/format"
	"github.com/openskr/openskr/internal/strict"
)

const (
	reportSize = 1184
	maxTable   = 64 << 10 // bytes of a host's certificate table; a verifier takes no more

	firstWait = 50 * time.Millisecond // before a busy host is asked again
	maxWait   = 2 * time.Second
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
	turn chan struct{} // holds one token
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
	d := &Device{opts: o, src: src, turn: make(chan struct{}, 1)}
	d.turn <- struct{}{}
	return d, nil
}

// Close gives the device back. A request under way is waited for.
func (d *Device) Close() error {
	<-d.turn
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
	select {
	case <-d.turn:
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("SEV-SNP report: %w", context.Cause(ctx))
	}
	type answer struct {
		report, table []byte
		err           error
	}
	done := make(chan answer, 1)
	go func() { // a call into the kernel does not end with ctx
		defer func() { d.turn <- struct{}{} }()
		var a answer
		a.report, a.table, a.err = d.ask(ctx, reportData)
		done <- a
	}()
	select {
	case a := <-done:
		return a.report, a.table, a.err
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("SEV-SNP report: %w", context.Cause(ctx))
	}
}

func (d *Device) ask(ctx context.Context, reportData [64]byte) (report, table []byte, err error) {
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		report, table, err = d.src.report(reportData, d.opts.VMPL)
		if err == nil {
			break
		}
		if !busy(err) {
			return nil, nil, fmt.Errorf("SEV-SNP report: %w", err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("SEV-SNP report: %w; the host was busy: %w", context.Cause(ctx), err)
		}
	}
	if len(report) != reportSize || [64]byte(report[0x50:0x90]) != reportData {
		return nil, nil, fmt.Errorf("SEV-SNP report: %d bytes, want %d over the given report data", len(report), reportSize)
	}
	if table, err = trim(table); err != nil {
		return nil, nil, fmt.Errorf("certificate table: %w", err)
	}
	return report, table, nil
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
