package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"unicode"

	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/internal/api/attestation"
	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release"
)

// codes are Key Vault's words for a class; the class is the HTTP status.
var codes = map[release.Class]string{
	release.ClassBad:          "BadParameter",
	release.ClassUnauthorized: "Unauthorized",
	release.ClassForbidden:    "Forbidden",
	release.ClassNotFound:     "NotFound",
	release.ClassMethod:       "MethodNotAllowed",
	release.ClassConflict:     "Conflict",
	release.ClassTooLarge:     "RequestTooLarge",
	release.ClassMediaType:    "UnsupportedMediaType",
	release.ClassThrottled:    "Throttled",
	release.ClassInternal:     "InternalServerError",
	release.ClassUnavailable:  "ServiceUnavailable",
}

// messages is all that a caller who proved nothing is told, besides the reason.
var messages = map[release.Class]string{
	release.ClassBad:          "The request is malformed.",
	release.ClassUnauthorized: "AKV10000: Request is missing a valid Bearer token.",
	release.ClassForbidden:    "The request is refused.",
	release.ClassNotFound:     "There is no such thing here.",
	release.ClassMethod:       "The method is not allowed here.",
	release.ClassConflict:     "The request does not fit the present state.",
	release.ClassTooLarge:     "The request is too large.",
	release.ClassMediaType:    "The content type is not accepted here; send application/json, not encoded.",
	release.ClassThrottled:    "Too many requests.",
	release.ClassInternal:     "The broker failed.",
	release.ClassUnavailable:  "The broker cannot serve this now.",
}

// ownFault are the classes whose text a principal is shown: what it asked for or
// may not do, and a policy that does not compile must say where.
var ownFault = map[release.Class]bool{
	release.ClassBad: true, release.ClassForbidden: true, release.ClassConflict: true, release.ClassTooLarge: true, release.ClassMediaType: true,
}

// maxMessage bounds what of an error's text a principal is shown, in bytes.
const maxMessage = 1024

// problem is an error as the caller sees it.
type problem struct {
	reason release.Reason
	class  release.Class
	retry  int // seconds, 0: no Retry-After
	body   []byte
}

// newProblem turns an error into what the caller may see of it. A machine or a
// stranger gets the code; a principal also gets the text of what it did wrong
// itself, since it is the operator. Failures of the broker never show text.
func newProblem(c *route.Call, err error) problem {
	p := problem{reason: release.ReasonOf(err)}
	if p.reason == release.ReasonInternal && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		p.reason = release.ReasonOverloaded
	}
	p.class = p.reason.Class()
	if codes[p.class] == "" {
		p.class = release.ClassInternal
	}
	if p.class == release.ClassForbidden && strings.HasPrefix(c.Operation, attestation.Prefix) { // evidence refused is 400 there
		p.class = release.ClassBad
	}
	var e *release.Error
	if errors.As(err, &e) {
		p.retry = e.Retry
	}
	if p.retry == 0 && (p.class == release.ClassThrottled || p.class == release.ClassUnavailable) {
		p.retry = 1
	}
	var b binding.ErrorBody
	b.Error.Code, b.Error.Message = codes[p.class], messages[p.class]
	if p.class == release.ClassNotFound && c.Door == release.DoorKeyVault && c.Caller != nil {
		b.Error.Code, b.Error.Message = "KeyNotFound", "A key with this name or version was not found in this key vault."
		if strings.HasPrefix(c.Operation, "secrets/") {
			b.Error.Code, b.Error.Message = "SecretNotFound", "A secret with this name or version was not found in this key vault."
		}
	}
	if word := roleWord(c.Operation, p.reason); word != "" && c.Caller != nil {
		b.Error.Code, b.Error.Message = word, messages[p.class]
	}
	switch {
	case c.Operation == opRelease && p.class == release.ClassForbidden:
		// Whoever asks for a key by a token is a workload, and what its token lacks is
		// the operator's to know. Azure's words.
		b.Error.Message = "Target environment attestation statement cannot be verified."
	case c.Caller != nil && ownFault[p.class]:
		b.Error.Message = printable(text(err))
	}
	b.Error.InnerError, b.Error.CorrelationID = inner(c, p.reason), c.Correlation
	if c.Operation == opToken {
		p.body = oauthProblem(p, err, c.Correlation)
		return p
	}
	if p.body, err = strict.Marshal(b); err != nil {
		p.body = []byte(`{"error":{"code":"InternalServerError"}}`)
	}
	return p
}

// innerWords are what Key Vault's clients look for (wire format: §1.6).
var innerWords = map[release.Reason]string{
	release.ReasonDeleted:           "ObjectIsDeletedButRecoverable",
	release.ReasonForbidden:         "ForbiddenByRbac",
	release.ReasonKeyDisabled:       "KeyDisabled",
	release.ReasonKeyNotYetValid:    "KeyNotYetValid",
	release.ReasonKeyExpired:        "KeyExpired",
	release.ReasonSecretDisabled:    "SecretDisabled",
	release.ReasonSecretNotYetValid: "SecretNotYetValid",
	release.ReasonSecretExpired:     "SecretExpired",
}

// inner puts the word of Key Vault around the reason, on its door.
func inner(c *route.Call, reason release.Reason) binding.InnerError {
	own := binding.InnerError{Code: string(reason)}
	if word := innerWords[reason]; word != "" && c.Door == release.DoorKeyVault && c.Caller != nil {
		return binding.InnerError{Code: word, InnerError: &own}
	}
	return own
}

// text is that of an error without the code, which has its own member.
func text(err error) string {
	var e *release.Error
	if errors.As(err, &e) && e.Err != nil {
		return e.Err.Error()
	}
	return err.Error()
}

// printable keeps a bounded number of printable characters.
func printable(s string) string {
	if len(s) > maxMessage {
		s = s[:maxMessage] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

func (p problem) write(w http.ResponseWriter) {
	h := w.Header()
	if p.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retry))
	}
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(p.body)))
	w.WriteHeader(int(p.class))
	_, _ = w.Write(p.body) // the caller is gone; there is nobody to tell
}

// oauthProblem is the body that OAuth clients read (RFC 6749 §5.2). What is wrong with the
// request alone is said in full; whether there is such a client, and what was wrong with
// its proof, is not.
func oauthProblem(p problem, err error, correlation string) []byte {
	body := struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Reason      string `json:"reason"`
		Correlation string `json:"correlation_id"`
	}{"invalid_request", messages[p.class], string(p.reason), correlation}
	var form *identity.FormError
	if errors.As(err, &form) {
		body.Error, body.Description = form.Code, form.Text
	}
	switch p.class {
	case release.ClassUnauthorized:
		body.Error, body.Description = "invalid_client", "Unknown client, or its credential is not accepted."
	case release.ClassThrottled, release.ClassUnavailable, release.ClassInternal:
		body.Error = "temporarily_unavailable"
	}
	b, err := strict.Marshal(body)
	if err != nil {
		return []byte(`{"error":"invalid_request"}`)
	}
	return b
}
