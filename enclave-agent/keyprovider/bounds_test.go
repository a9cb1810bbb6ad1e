package keyprovider

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	ocicrypt "github.com/containers/ocicrypt/utils/keyprovider"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/openskr/openskr/attest/tpm/guest"
	agent "github.com/openskr/openskr/enclave-agent"
)

type never struct{}

func (never) Key(ctx context.Context, _ string) (*agent.Released, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func service(t testing.TB) *Service {
	t.Helper()
	s, err := New(Config{Agent: never{}, Keys: []Key{{URL: "https://vault.example/keys/a"}}, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func secret(t testing.TB, b []byte) *agent.Secret {
	t.Helper()
	s, err := guest.TakeSecret(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// However many ask, no more than maxCalls are under way, and all end in time.
func TestCallsAreBounded(t *testing.T) {
	s := service(t)
	synctest.Test(t, func(t *testing.T) {
		s.calls = make(chan struct{}, maxCalls) // one of this bubble
		const callers = maxCalls + 3
		begun, errs := make(chan struct{}, callers), make(chan error, callers)
		start := time.Now()
		for range callers {
			go func() {
				_, err := s.bound(t.Context(), nil, nil, func(ctx context.Context, _ any) (any, error) {
					begun <- struct{}{}
					_, err := never{}.Key(ctx, "")
					return nil, err
				})
				errs <- err
			}()
		}
		synctest.Wait()
		if len(begun) != maxCalls {
			t.Errorf("%d calls under way, want %d", len(begun), maxCalls)
		}
		n := map[codes.Code]int{}
		for range callers {
			n[status.Code(<-errs)]++
		}
		if n[codes.DeadlineExceeded] < maxCalls || n[codes.DeadlineExceeded]+n[codes.ResourceExhausted] != callers {
			t.Errorf("calls ended with %v", n)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("the last call ended after %v", d)
		}
	})
}

// A request may hold private keys for other schemes: nothing of it stays, whatever comes of it.
func TestRequestsAreCleared(t *testing.T) {
	s := service(t)
	for _, call := range []func(context.Context, *ocicrypt.KeyProviderKeyWrapProtocolInput) (*ocicrypt.KeyProviderKeyWrapProtocolOutput, error){s.WrapKey, s.UnWrapKey} {
		in := &ocicrypt.KeyProviderKeyWrapProtocolInput{KeyProviderKeyWrapProtocolInput: []byte(`{"op":"other","keyunwrapparams":{"dc":{"a":"PRIVATE"}}}`)}
		if _, err := call(t.Context(), in); err == nil || strings.Trim(string(in.KeyProviderKeyWrapProtocolInput), "\x00") != "" {
			t.Errorf("%v, left %q", err, in.KeyProviderKeyWrapProtocolInput)
		}
	}
}

// What is longer than a request may be is refused before it is kept.
func TestMessagesAreBounded(t *testing.T) {
	s := service(t)
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	for size, want := range map[int]codes.Code{MaxRequest: codes.InvalidArgument, MaxRequest + 64: codes.ResourceExhausted} {
		in := &ocicrypt.KeyProviderKeyWrapProtocolInput{KeyProviderKeyWrapProtocolInput: make([]byte, size)}
		if _, err := ocicrypt.NewKeyProviderServiceClient(conn).UnWrapKey(t.Context(), in); status.Code(err) != want {
			t.Errorf("%d bytes: %v, want %s", size, err, want)
		}
	}
	s.Stop()
	if err := errors.Join(conn.Close(), <-done); err != nil {
		t.Error(err)
	}
}
