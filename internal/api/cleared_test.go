package api

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	apikeyvault "github.com/openskr/openskr/internal/api/keyvault"
	"github.com/openskr/openskr/internal/api/route"
)

// keeper keeps the very bytes that pass it, not copies.
type keeper struct {
	http.ResponseWriter
	io.Reader
	passed [][]byte
}

func (k *keeper) Write(p []byte) (int, error) {
	k.passed = append(k.passed, p)
	return k.ResponseWriter.Write(p)
}

func (k *keeper) Read(p []byte) (int, error) {
	n, err := k.Reader.Read(p)
	k.passed = append(k.passed, p[:n])
	return n, err
}

func (k *keeper) cleared() bool {
	all := bytes.Join(k.passed, nil)
	return len(all) > 0 && bytes.Equal(all, make([]byte, len(all)))
}

// TestSecretAnswersAreCleared: once an answer was sent, neither what it holds nor its
// encoding is left.
func TestSecretAnswersAreCleared(t *testing.T) {
	for name, answer := range map[string]func(value []byte) any{
		"secret":    func(v []byte) any { return &apikeyvault.SecretBundle{Value: v} },
		"operation": func(v []byte) any { return apikeyvault.KeyOperationResult{Value: v} },
		"random":    func(v []byte) any { return apikeyvault.RandomBytes{Value: v} },
	} {
		value, rec := []byte("0123456789"), httptest.NewRecorder()
		k := &keeper{ResponseWriter: rec}
		if err := new(funnel).answer(k, &route.Call{}, answer(value)); err != nil || !strings.Contains(rec.Body.String(), `"value":"`) {
			t.Fatalf("%s: %s, %v", name, rec.Body, err)
		}
		if k.passed = append(k.passed, value); !k.cleared() {
			t.Errorf("%s: %q is left", name, k.passed)
		}
	}
}

// TestSecretBodiesAreReadOnce: a body with a secret in it is in one place, which its
// handler clears; one that is refused while it comes is cleared at once.
func TestSecretBodiesAreReadOnce(t *testing.T) {
	r := &route.Route{Name: "secrets/set", Body: route.JSON, Limit: 160 << 10, Secret: true}
	text := strings.Repeat("s", 100<<10)
	for name, c := range map[string]struct {
		body   io.Reader
		length int64
	}{
		"declared": {strings.NewReader(text), int64(len(text))},
		"chunked":  {strings.NewReader(text), -1},
		"cut off":  {io.MultiReader(strings.NewReader(text), failing{}), -1},
		"too long": {strings.NewReader(text + text), -1},
	} {
		k := &keeper{Reader: c.body}
		req := httptest.NewRequest(http.MethodPut, "/", io.NopCloser(k))
		req.Header.Set("Content-Type", "application/json")
		req.ContentLength = c.length
		call := &route.Call{}
		err := new(funnel).readBody(httptest.NewRecorder(), req, r, call)
		if whole := len(call.Body) == len(text); whole != (err == nil) {
			t.Errorf("%s: %d bytes, %v", name, len(call.Body), err)
		}
		clear(call.Body)
		if !k.cleared() {
			t.Errorf("%s: a copy is left", name)
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("gone") }
