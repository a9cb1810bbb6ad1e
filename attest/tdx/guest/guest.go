// Package guest is the collecting half of TDX Evidence: it runs inside the trust
// domain, asks for a quote through configfs-tsm (Linux 6.7) and reads the event log
// that firmware left in ACPI. Package attest/tdx verifies it.
package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/tdx/format"
	tsm "github.com/openskr/openskr/attest/tsm/guest"
	"github.com/openskr/openskr/internal/strict"
)

const (
	reportDataAt = 520 // in a TD report
	maxQuote     = 16 << 10
	maxLogArea   = 4 << 20   // bytes that ACPI sets aside for the log
	maxLog       = 512 << 10 // bytes of a log; a verifier takes no more
)

// ErrNoDevice says that this machine gives no TDX quotes, or not to this user.
var ErrNoDevice = errors.New("no TDX guest device")

// DefaultEventLog is where the kernel shows the CCEL area.
const DefaultEventLog = "/sys/firmware/acpi/tables/data/CCEL"

// Options of [Open]. The zero value is this machine's.
type Options struct {
	Type     attest.Type // of the Evidence; "": attest.TypeTDX
	TSM      string      // folder of configfs-tsm; "": /sys/kernel/config/tsm
	Device   string      // only looked for, to say what is missing; "": /dev/tdx_guest
	EventLog string      // file; "": DefaultEventLog, and none when the machine has none
	FS       FS          // files of TSM; nil: the kernel's
}

// FS is the file system of configfs-tsm.
type FS = tsm.FS

// Device makes quotes. It is safe for concurrent use, which it serves one by one.
type Device struct {
	opts Options
	tsm  *tsm.Reports
	turn *tsm.Turn
}

// Open finds the way to quotes. An error wraps [ErrNoDevice] and says what was tried
// and what would help.
func Open(o Options) (*Device, error) {
	if o.Type == "" {
		o.Type = attest.TypeTDX
	}
	if o.Device == "" {
		o.Device = "/dev/tdx_guest"
	}
	t, err := tsm.Open("tdx_guest", o.TSM, o.FS)
	if err != nil {
		if _, derr := os.Stat(o.Device); derr == nil {
			err = fmt.Errorf("%w; %s is there, but it makes no quotes by itself: Linux 6.7 or later makes them through configfs", err, o.Device)
		}
		return nil, fmt.Errorf("%w: %w", ErrNoDevice, err)
	}
	return &Device{opts: o, tsm: t, turn: tsm.NewTurn()}, nil
}

// Close waits for a request under way; the device cannot be used afterwards.
func (d *Device) Close() error {
	d.turn.End()
	return nil
}

// Evidence attests runtime data: the report data is its SHA-256 and zeros. The event
// log goes along, when the machine has one.
func (d *Device) Evidence(ctx context.Context, runtimeData []byte) (attest.Evidence, error) {
	var reportData [64]byte
	digest := binding.Digest(runtimeData)
	copy(reportData[:], digest[:])
	quote, err := d.Quote(ctx, reportData)
	if err != nil {
		return attest.Evidence{}, err
	}
	log, err := d.eventLog()
	if err != nil {
		return attest.Evidence{}, err
	}
	body, err := strict.Marshal(format.Evidence{Type: d.opts.Type, Quote: quote, EventLog: log})
	if err != nil {
		return attest.Evidence{}, err
	}
	return attest.Evidence{Type: d.opts.Type, Body: body, RuntimeData: runtimeData}, nil
}

// Quote gives a quote over reportData. A quoting service that is busy is asked again,
// until ctx ends; a call that hangs in the kernel is left behind then.
func (d *Device) Quote(ctx context.Context, reportData [64]byte) ([]byte, error) {
	quote, err := tsm.Ask(ctx, d.turn, busy, func() ([]byte, error) {
		quote, _, err := d.tsm.Get(reportData[:], 0)
		return quote, err
	})
	if err != nil {
		return nil, fmt.Errorf("TDX quote: %w", err)
	}
	return quote, check(quote, reportData)
}

func busy(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.EINTR) || errors.Is(err, syscall.ETIMEDOUT)
}

// check says whether b looks like a quote over reportData: the kernel passes on what
// the host's quoting service answered.
func check(b []byte, reportData [64]byte) error {
	at := 48 + reportDataAt
	if len(b) > 2 && b[0] == 5 {
		at += 6 // kind and size of the body
	}
	if len(b) < at+64 || len(b) > maxQuote || [64]byte(b[at:at+64]) != reportData {
		return fmt.Errorf("TDX quote: the host's quoting service answered %d bytes that are no quote over the given report data", len(b))
	}
	return nil
}

// eventLog reads the log and cuts what is behind its last event.
func (d *Device) eventLog() (log []byte, err error) {
	path := d.opts.EventLog
	if path == "" {
		path = DefaultEventLog
	}
	f, err := os.Open(path)
	if d.opts.EventLog == "" && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("event log: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	area, err := io.ReadAll(io.LimitReader(f, maxLogArea))
	if err != nil {
		return nil, fmt.Errorf("event log: %w", err)
	}
	if log = format.TrimCCEL(area); len(log) > maxLog {
		return nil, fmt.Errorf("event log %s has %d bytes, limit %d", path, len(log), maxLog)
	}
	return log, nil
}
