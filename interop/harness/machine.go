package harness

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Machine is the hardware of a simulated SEV-SNP machine (`openskr simulate`), which
// the broker believes since its deployment is a simulation.
type Machine struct {
	socket string
	child  *exec.Cmd
	exited chan error
}

// StartMachine starts the hardware of one machine that asks it directly.
func (b *Broker) StartMachine(ctx context.Context) (*Machine, error) {
	return b.simulate(ctx, "snp")
}

// StartAzureMachine starts an Azure confidential machine whose vTPM is the software
// TPM at a socket, and its metadata service.
func (b *Broker) StartAzureMachine(ctx context.Context, tpm string) (*Machine, error) {
	return b.simulate(ctx, "azure", "--tpm", tpm)
}

func (b *Broker) simulate(ctx context.Context, args ...string) (*Machine, error) {
	m := &Machine{socket: filepath.Join(filepath.Dir(b.Dir), "sim-"+rand.Text()[:6]), exited: make(chan error, 1)}
	m.child = exec.Command(b.program, append([]string{"simulate", "--seed", filepath.Join(b.Dir, "simulation.seed"), "--socket", m.socket}, args...)...)
	m.child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	m.child.Stderr = &stderr
	if err := m.child.Start(); err != nil {
		return nil, err
	}
	go func() { m.exited <- m.child.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		c, err := net.Dial("unix", m.socket)
		if err == nil {
			return m, c.Close()
		}
		select { // another process: nothing to wait on but its answer
		case err := <-m.exited:
			return nil, fmt.Errorf("openskr simulate: %w\n%s", err, stderr.String())
		case <-ctx.Done():
			return nil, errors.Join(err, m.Stop())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Socket is where the agent's programs find the hardware (--simulator).
func (m *Machine) Socket() string { return m.socket }

// Stop turns the machine off.
func (m *Machine) Stop() error {
	if err := m.child.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return <-m.exited
}

// Evidence gives an attestation report of 1184 bytes whose report data is the
// SHA-256 of runtimeData, and its certificate in PEM.
func (m *Machine) Evidence(runtimeData []byte) (report, chainPEM []byte, err error) {
	c, err := net.Dial("unix", m.socket)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	signed := sha256.Sum256(runtimeData)
	if err := json.NewEncoder(c).Encode(map[string]any{"v": 1, "signed": base64.RawURLEncoding.EncodeToString(signed[:])}); err != nil {
		return nil, nil, err
	}
	var answer struct {
		Evidence     struct{ Report string }
		Endorsements []struct{ Type, Data string }
		Error        string
	}
	if err := json.NewDecoder(c).Decode(&answer); err != nil || answer.Error != "" {
		return nil, nil, errors.Join(errors.New("simulated machine: "+answer.Error), err)
	}
	if report, err = base64.RawURLEncoding.DecodeString(answer.Evidence.Report); err != nil {
		return nil, nil, err
	}
	for _, e := range answer.Endorsements {
		der, err := base64.RawURLEncoding.DecodeString(e.Data)
		if err != nil {
			return nil, nil, err
		}
		chainPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	return report, chainPEM, nil
}

// Certificates asks the metadata service of an Azure machine for the certificates
// of its processor, in PEM (wire.md §5.5).
func (m *Machine) Certificates(ctx context.Context) ([]byte, error) {
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", m.socket) }}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://imds/metadata/THIM/amd/certification", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Metadata", "true")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct{ VcekCert, CertificateChain string }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		return nil, errors.Join(errors.New("metadata service: "+resp.Status), err)
	}
	return []byte(answer.VcekCert + answer.CertificateChain), nil
}
