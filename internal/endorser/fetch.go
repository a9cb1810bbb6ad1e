package endorser

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/openskr/openskr/attest"
)

// How long a document that an authority does not have, or not a genuine one of, is not
// asked for again. A host that fails is the breaker's business.
const (
	forgetMissing = 10 * time.Minute
	forgetBad     = 5 * time.Minute
	maxFailed     = 4096

	maxChainCerts = 5
)

type failure struct {
	err   error
	until time.Time
}

// answerError is an answer, or none, that brought no document.
type answerError struct {
	status int           // 0: none came
	retry  time.Duration // Retry-After
	err    error
}

func (a *answerError) Error() string { return a.err.Error() }
func (a *answerError) Unwrap() error { return a.err }

// throttled says that the host wants to be left alone; sick that it does not work.
func (a *answerError) throttled() bool { return a.status == http.StatusTooManyRequests }
func (a *answerError) sick() bool      { return a.status == 0 || a.status >= 500 || a.throttled() }

// fetch asks the network, each address in turn, and keeps what comes.
func (e *Endorser) fetch(ctx context.Context, need attest.Need, k kind) error {
	if e.cfg.Offline {
		return fmt.Errorf("%w: %s %s", ErrMissing, need.Kind, need.ID)
	}
	now := e.cfg.Now()
	if err := e.failedLately(need, now); err != nil {
		return err
	}
	if k.stranger && !e.chips.take(now) {
		e.observe(need, OutcomeThrottled)
		return fmt.Errorf("%w: %d VCEKs a minute", ErrThrottled, e.cfg.ChipsPerMinute)
	}
	err := e.tryAll(ctx, need, k)
	e.conclude(need, err)
	return err
}

func (e *Endorser) tryAll(ctx context.Context, need attest.Need, k kind) error {
	addresses := e.addresses(need, k)
	err := fmt.Errorf("%w: %s failed lately", ErrThrottled, hostOf(addresses[0]))
	for i, address := range addresses {
		host := hostOf(address)
		if k.stranger {
			host = string(need.Kind) + "@" + host // odd chips must not cost us the CRLs
		}
		if !e.hosts.enter(host, e.cfg.Now()) {
			continue
		}
		one, cancel := share(ctx, len(addresses)-i)
		doc, problem := e.ask(one, address, need, k)
		cancel()
		var a *answerError
		sick := errors.As(problem, &a) && a.sick()
		if sick {
			e.hosts.leave(host, e.cfg.Now(), true, a.retry)
		} else {
			e.hosts.leave(host, e.cfg.Now(), false, 0)
		}
		if err = problem; err == nil {
			if _, err = e.accept(need, k, doc, host); err == nil {
				return nil
			}
		}
	}
	return err
}

// share leaves time for those who come after.
func share(ctx context.Context, n int) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok || n == 1 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(end)/time.Duration(n))
}

func (e *Endorser) failedLately(need attest.Need, now time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	f, ok := e.failed[need]
	if ok && now.Before(f.until) {
		return f.err
	}
	delete(e.failed, need)
	return nil
}

// conclude counts a fetch and remembers a failure that is the document's own.
func (e *Endorser) conclude(need attest.Need, err error) {
	var a *answerError
	answered := errors.As(err, &a)
	keep := time.Duration(0)
	switch {
	case err == nil:
		e.observe(need, OutcomeOK)
	case errors.Is(err, ErrThrottled): // nobody was asked
		e.observe(need, OutcomeThrottled)
		return
	case answered && a.throttled():
		e.observe(need, OutcomeThrottled)
	case errors.Is(err, ErrInvalid) || errors.Is(err, ErrRollback): // counted where found
		keep = forgetBad
	default:
		e.observe(need, OutcomeError)
		switch {
		case !answered: // genuine, and ended
			keep = forgetBad
		case !a.sick():
			keep = forgetMissing
		}
	}
	if err != nil {
		e.cfg.Logger.Warn("collateral not fetched", "kind", string(need.Kind), "id", need.ID, "error", err)
	}
	if keep == 0 {
		return
	}
	now := e.cfg.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	for n, f := range e.failed {
		if len(e.failed) < maxFailed && now.Before(f.until) {
			continue
		}
		delete(e.failed, n)
	}
	e.failed[need] = failure{err, now.Add(keep)}
}

// ask gets one document from one address.
func (e *Endorser) ask(ctx context.Context, address string, need attest.Need, k kind) (*attest.Document, error) {
	if need.Kind == attest.NeedJWKS {
		return e.askKeys(ctx, address, need.ID)
	}
	body, header, err := e.getURL(ctx, address)
	if err != nil {
		return nil, err
	}
	doc := &attest.Document{Data: body, Fetched: e.cfg.Now()}
	if need.Kind == attest.NeedIntelRootCRL || need.Kind == attest.NeedIntelPCKCRL {
		doc.Data = fromHex(body)
	}
	if len(k.chain) == 0 {
		return doc, nil
	}
	if doc.Chain, err = chainOf(header, k.chain); err != nil {
		return nil, &answerError{status: http.StatusOK, err: fmt.Errorf("%w: %s: %w", ErrAuthority, hostOf(address), err)}
	}
	return doc, nil
}

func (e *Endorser) getURL(ctx context.Context, address string) ([]byte, http.Header, error) {
	host := hostOf(address)
	fail := func(status int, retry time.Duration, format string, args ...any) ([]byte, http.Header, error) {
		return nil, nil, &answerError{status, retry, fmt.Errorf("%w: %s: %w", ErrAuthority, host, fmt.Errorf(format, args...))}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return fail(http.StatusBadRequest, 0, "%w", err)
	}
	res, err := e.client.Do(req)
	if err != nil {
		return fail(0, 0, "%w", err)
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusGone:
		return fail(res.StatusCode, 0, "%w", ErrUnknown)
	default:
		return fail(res.StatusCode, retryAfter(res.Header.Get("Retry-After"), e.cfg.Now()), "answered %d", res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, e.cfg.MaxSize+1))
	switch {
	case err != nil:
		return fail(0, 0, "%w", err)
	case int64(len(body)) > e.cfg.MaxSize:
		return fail(res.StatusCode, 0, "more than %d bytes", e.cfg.MaxSize)
	}
	return body, res.Header, nil
}

// retryAfter reads RFC 9110 §10.2.3: seconds or a date.
func retryAfter(v string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(v); err == nil && n > 0 {
		return time.Duration(min(n, int(maxRetryAfter/time.Second))) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}

// chainOf reads an issuer chain from a header, PEM in percent-encoding. Some caches
// write a space as '+', which is a letter of base64 for all others.
func chainOf(h http.Header, names []string) ([]byte, error) {
	for _, name := range names {
		v := h.Get(name)
		if v == "" {
			continue
		}
		decode := url.PathUnescape
		if strings.Contains(v, "BEGIN+CERTIFICATE") {
			decode = url.QueryUnescape
		}
		text, err := decode(v)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", name, err)
		}
		return cleanChain([]byte(text))
	}
	return nil, fmt.Errorf("no header %s", names[0])
}

// cleanChain keeps certificates only, in their order.
func cleanChain(text []byte) ([]byte, error) {
	var out []byte
	for n := 0; ; n++ {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		if n == maxChainCerts || block.Type != "CERTIFICATE" {
			return nil, errors.New("issuer chain is no chain of certificates")
		}
		out, text = append(out, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...), rest
	}
	if out == nil || len(out) > maxChain {
		return nil, errors.New("issuer chain is empty or too long")
	}
	return out, nil
}
