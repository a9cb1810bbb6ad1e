package dcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// MaxQuote bounds a quote in bytes. Real ones have 4.6 to 5.3 kB; Google Cloud pads
// them to 8000.
const MaxQuote = 16 << 10

// TEE says which hardware a quote is of.
type TEE string

// The two that make quotes.
const (
	SGX TEE = "sgx"
	TDX TEE = "tdx"
)

// Lengths of the structures of a quote in bytes.
const (
	headerSize    = 48
	enclaveReport = 384 // SGX REPORT body
	td10          = 584 // TDX 1.0 TD report
	td15          = 648 // TDX 1.5 TD report
	td15ex        = 885 // the same, extended: which VM of which TD, with which devices
	signatureSize = 64  // r ‖ s
	keySize       = 64  // x ‖ y
)

// Quote is a parsed quote (Intel SGX DCAP Quote Library API, appendix A.3 and A.4;
// Intel TDX DCAP Quoting Library API, appendix A). Its slices point into the bytes it
// was parsed from. Nothing of it is proven until [Evaluator.Prove].
type Quote struct {
	Version uint16 // 3, 4 or 5
	TEE     TEE
	// Body is the report that the TEE made: 384 bytes of an SGX enclave, 584 of a TDX
	// 1.0 or 648 of a TDX 1.5 domain, or 885 of one with the extended report.
	Body []byte

	signed    []byte // header and body, what the attestation key signed
	signature []byte
	key       []byte // attestation key
	qe        certification
}

// certification is how the quoting enclave (QE) certifies the attestation key.
type certification struct {
	raw       []byte // all of it, for caching
	report    []byte // the QE's own SGX report
	signature []byte // over report, by the PCK
	auth      []byte // what the report covers besides the attestation key
	chain     []byte // PEM
}

// reader takes little-endian structures apart; the first read beyond the end makes
// it bad, and from then on every read gives nothing.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n uint32) []byte {
	if r.bad || uint64(n) > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// ParseQuote reads a quote to its last byte. Behind it, only zeros may stand: hosts
// hand out buffers that are larger than the quote.
func ParseQuote(b []byte) (*Quote, error) {
	if len(b) > MaxQuote {
		return nil, fmt.Errorf("quote of %d bytes, limit %d", len(b), MaxQuote)
	}
	q, rest, err := parseQuote(b)
	if err != nil {
		return nil, err
	}
	if !zero(rest) {
		return nil, fmt.Errorf("%d bytes behind the quote are not zero", len(rest))
	}
	return q, nil
}

// TrimQuote cuts text that follows a quote on a line of its own, as some files have it
// behind the PEM that a quote ends with; anything else behind a quote is left for
// [ParseQuote] to refuse. It is for files, never for what came over a wire.
func TrimQuote(b []byte) []byte {
	_, rest, err := parseQuote(b)
	if err != nil || len(rest) == 0 || len(rest) > maxText || rest[0] != '\n' ||
		bytes.ContainsFunc(rest, func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') }) {
		return b
	}
	return b[: len(b)-len(rest) : len(b)-len(rest)]
}

const maxText = 256 // bytes that TrimQuote cuts

func parseQuote(b []byte) (q *Quote, rest []byte, err error) {
	q = &Quote{}
	r := reader{b: b}
	size, err := q.header(&r)
	if err != nil {
		return nil, nil, err
	}
	q.Body = r.take(size)
	if r.bad {
		return nil, nil, errors.New("quote is cut short in its body")
	}
	q.signed = b[:len(b)-len(r.b)]
	data := reader{b: r.take(r.u32())}
	q.signature, q.key = data.take(signatureSize), data.take(keySize)
	if q.Version > 3 {
		if typ := data.u16(); typ != certQEReport {
			return nil, nil, fmt.Errorf("certification data of type %d, want %d", typ, certQEReport)
		}
		inner := data.take(data.u32())
		if r.bad || data.bad || len(data.b) > 0 {
			return nil, nil, errors.New("signature data has a wrong length")
		}
		data = reader{b: inner}
	}
	if err := q.qe.parse(&data); err != nil {
		return nil, nil, err
	}
	if r.bad {
		return nil, nil, errors.New("quote is cut short in its signature")
	}
	return q, r.b, nil
}

// Types of certification data: PEM chain of the PCK, and a QE report around another.
const (
	certPCKChain = 5
	certQEReport = 6
)

// Intel's id as the vendor of the quoting enclave.
const intelQE = "\x93\x9a\x72\x33\xf7\x9c\x4c\xa9\x94\x0a\x0d\xb3\x95\x7f\x06\x07"

// header reads the header, for version 5 with the descriptor behind it, and gives
// the size of the body.
func (q *Quote) header(r *reader) (size uint32, err error) {
	q.Version = r.u16()
	keyType, tee := r.u16(), r.u32()
	r.take(4) // SVNs of QE and PCE in version 3, reserved later; the QE report has its own
	vendor := r.take(16)
	r.take(20) // user data: the id of the platform in the host's words
	switch {
	case r.bad:
		return 0, errors.New("quote is cut short in its header")
	case q.Version < 3 || q.Version > 5:
		return 0, fmt.Errorf("quote of version %d, known are 3, 4 and 5", q.Version)
	case keyType != 2:
		return 0, fmt.Errorf("attestation key of type %d, want 2 (ECDSA P-256)", keyType)
	case string(vendor) != intelQE:
		return 0, fmt.Errorf("QE vendor %x is not Intel", vendor)
	}
	switch {
	case tee == 0:
		q.TEE, size = SGX, enclaveReport
	case tee == 0x81 && q.Version > 3:
		q.TEE, size = TDX, td10
	default:
		return 0, fmt.Errorf("TEE type %#x in a quote of version %d", tee, q.Version)
	}
	if q.Version < 5 {
		return size, nil
	}
	kind, n := r.u16(), r.u32()
	switch {
	case q.TEE == SGX && kind == 1 && n == enclaveReport,
		q.TEE == TDX && kind == 2 && n == td10,
		q.TEE == TDX && kind == 3 && n == td15,
		q.TEE == TDX && kind == 4 && n == td15ex:
		return n, nil
	}
	return 0, fmt.Errorf("body of type %d and %d bytes for TEE type %#x", kind, n, tee)
}

// parse reads certification data to its end.
func (c *certification) parse(r *reader) error {
	c.raw = r.b
	c.report, c.signature = r.take(enclaveReport), r.take(signatureSize)
	c.auth = r.take(uint32(r.u16()))
	typ := r.u16()
	c.chain = r.take(r.u32())
	switch {
	case r.bad || len(r.b) > 0:
		return errors.New("certification data has a wrong length")
	case typ != certPCKChain:
		return fmt.Errorf("certification data of type %d, want %d: the quote must carry its PCK chain", typ, certPCKChain)
	}
	return nil
}

// ReportData is the 64 bytes that the workload had signed.
func (q *Quote) ReportData() []byte {
	if q.TEE == SGX {
		return q.Body[320:384]
	}
	return q.Body[520:584]
}
