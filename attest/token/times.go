package token

import (
	"time"

	"github.com/openskr/openskr/attest"
)

// times is when a token was signed and until when it says it is good, in Unix seconds;
// expires is 0 for an EAR that does not say.
type times struct{ issued, expires int64 }

// inForce checks time and audience. An EAR need not have exp: its format does not
// define one, and MaxAge bounds it.
func (is *issuer) inForce(claims object, at time.Time) (times, *attest.Rejection) {
	r := read(claims)
	issued, hasIssued := r.integer("iat")
	expires, hasExpires := r.integer("exp")
	before, hasBefore := r.integer("nbf")
	audiences := r.texts("aud")
	if err := r.failed(); err != nil {
		return times{}, attest.Reject(attest.CheckMalformed, "token: %w", err)
	}
	now, ahead := at.Unix(), at.Add(skew).Unix()
	late := at.Add(-skew).Unix()
	switch {
	case !hasIssued || issued <= 0 || !hasExpires && is.Kind != KindEAR:
		return times{}, attest.Reject(attest.CheckTokenExpired, "iat and exp are required")
	case issued > ahead || hasBefore && before > ahead:
		return times{}, attest.Reject(attest.CheckTokenExpired, "iat %d, nbf %d: not yet valid at %d", issued, before, now)
	case hasExpires && (expires <= late || expires <= issued):
		return times{}, attest.Reject(attest.CheckTokenExpired, "exp %d: expired at %d", expires, now)
	case hasExpires && expires-issued > int64(maxLife/time.Second):
		return times{}, attest.Reject(attest.CheckTokenExpired, "exp %d: lives longer than %v", expires, maxLife)
	case now-issued > int64(is.MaxAge/time.Second):
		return times{}, attest.Reject(attest.CheckTokenExpired, "iat %d: older than %v at %d", issued, is.MaxAge, now)
	case is.Audience == "" && len(audiences) > 0, is.Audience != "" && (len(audiences) != 1 || audiences[0] != is.Audience):
		rej := attest.Reject(attest.CheckReportData, "the token was made for another audience")
		rej.Expected, rej.Got = is.Audience, clip(audiences)
		return times{}, rej
	}
	return times{issued, expires}, nil
}

// clip is the first audience, short enough for a log line.
func clip(audiences []string) string {
	if len(audiences) == 0 {
		return ""
	}
	return audiences[0][:min(len(audiences[0]), 128)]
}
