package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"regexp"
)

// NewLogger writes JSON lines to w. What an attribute may hold is an allow list:
// text, numbers, booleans, times, errors, and what says itself how it is logged
// ([slog.LogValuer]). Anything else, bytes and structs above all, could carry a
// secret and is replaced by its type.
func NewLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: redact}))
}

// maxText bounds one attribute in bytes.
const maxText = 16 << 10

// secrets are forms of text that are never worth a log line: compact JWS and JWE,
// Authorization values, age identities, PEM private keys. A net below the rule
// that nobody logs them.
var secrets = regexp.MustCompile(`eyJ[0-9A-Za-z_-]{5,}\.[0-9A-Za-z_-]+\.[0-9A-Za-z_.-]*|(?i:bearer) [0-9A-Za-z._~+/-]{8,}=*|AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]+|-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*`)

func redact(_ []string, a slog.Attr) slog.Attr {
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(clean(v.String()))
	case slog.KindInt64, slog.KindUint64, slog.KindFloat64, slog.KindBool, slog.KindDuration, slog.KindTime, slog.KindGroup:
		a.Value = v
	default:
		a.Value = slog.StringValue(anyText(v.Any()))
	}
	return a
}

func anyText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case error:
		return clean(v.Error())
	case slog.Level:
		return v.String()
	case []string:
		return clean(fmt.Sprintf("%q", v))
	default:
		return fmt.Sprintf("[%T]", v)
	}
}

func clean(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	return secrets.ReplaceAllString(s, "[redacted]")
}
