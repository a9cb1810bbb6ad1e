// Package simulate plays the hardware of a confidential machine for `openskr
// simulate`, as swtpm plays a TPM: a process of its own, asked through a Unix
// socket, so that the program that asks holds no simulated key and no code that
// forges. All keys come from one seed (attest/<tee>/simulated); a deployment that was
// initialised as a simulation derives the roots from the same.
//
// SNP and TDX are asked through the kernel; here one question a connection, each a
// line of JSON:
//
//	{"v":1,"signed":b64u(SHA-256 of the runtime data),"nonce":b64u}
//	→ {"type":"simulated-snp","evidence":{…},"endorsements":[{"type":…,"data":b64u}]}
//	→ {"error":"…"}
//
// Nitro is asked as the kernel asks the Nitro Security Module (attest/nitro/guest). An
// Azure machine quotes with its vTPM, a software TPM that is provisioned with what the
// platform puts there; its socket is the metadata service.
package simulate

import (
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm/format"
)

// Options are what can be changed about simulated hardware, to see it refused.
type Options struct {
	Measurement []byte // of what was launched: SNP and MRTD 48 bytes, Nitro PCR 0; nil: the usual one
	Debug       bool   // the machine can be debugged
	Extended    []byte // digest, 48 bytes, that the running system extended RTMR 3 of TDX with; nil: none
	TPM         string // socket of the software TPM that becomes an Azure machine's vTPM
}

// Device is one simulated platform.
type Device struct {
	Type  attest.Type
	serve func(ctx context.Context, l net.Listener) error
}

// Kinds are the platforms that New makes.
func Kinds() []string { return []string{"snp", "tdx", "nitro", "azure", "azure-tdx"} }

// New makes the platform of that kind whose keys come from seed.
func New(kind string, seed [SeedSize]byte, o Options) (*Device, error) {
	if n := len(o.Measurement); o.Measurement != nil && n != sha512.Size384 {
		return nil, fmt.Errorf("measurement of %d bytes, want %d", n, sha512.Size384)
	}
	switch kind {
	case "snp":
		return newSNP(seed, o)
	case "tdx":
		return newTDX(seed, o)
	case "azure":
		return newAzure(seed, o, format.HCLSNP)
	case "azure-tdx":
		return newAzure(seed, o, format.HCLTDX)
	case "nitro":
		return newNitro(seed, o)
	}
	return nil, fmt.Errorf("simulated hardware %.32q: want one of %v", kind, Kinds())
}

// Serve answers until ctx ends, then closes l and waits for answers under way.
func (d *Device) Serve(ctx context.Context, l net.Listener) error { return d.serve(ctx, l) }

const (
	answerLimit = 10 * time.Second // a connection
	maxOpen     = 16
)

// Listen makes the socket, for its owner only. One that a dead simulator left is
// replaced; anything else at that path is left alone.
func Listen(path string) (net.Listener, error) {
	if err := removeDead(path); err != nil {
		return nil, err
	}
	old := syscall.Umask(0o177) // the socket never exists with a wider mode
	defer syscall.Umask(old)
	return net.Listen("unix", path)
}

func removeDead(path string) error {
	fi, err := os.Lstat(path)
	if err != nil || fi.Mode()&os.ModeSocket == 0 {
		return nil // net.Listen says what stands there
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		return errors.Join(fmt.Errorf("%s: a simulator answers there already", path), c.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// each calls answer with every connection, a few at a time.
func each(ctx context.Context, l net.Listener, answer func(net.Conn) error) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var open sync.WaitGroup
	defer open.Wait()
	free := make(chan struct{}, maxOpen)
	for {
		free <- struct{}{}
		c, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		open.Go(func() {
			defer func() { <-free }()
			defer c.Close()
			if c.SetDeadline(time.Now().Add(answerLimit)) == nil {
				_ = answer(c) // whoever asked sees the connection end
			}
		})
	}
}
