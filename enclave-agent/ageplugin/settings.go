package ageplugin

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"filippo.io/age/plugin"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/internal/strict"
)

const (
	settingsVersion = 1
	maxSettings     = 8 << 10
	defaultConfig   = "/etc/openskr/agent.json"
)

// Settings are what an identity of the plugin says, AGE-PLUGIN-OPENSKR-1…: the key, and
// the options that age has no way to pass. None of it is secret. age starts the plugin
// in another folder, so that paths are absolute.
type Settings struct {
	V         int    `json:"v"`
	Key       string `json:"key"`                 // URL, with or without a version
	Config    string `json:"config,omitempty"`    // agent.json, "": /etc/openskr/agent.json
	Platform  string `json:"platform,omitempty"`  // as openskr-agent platform lists, "": detected
	TPM       string `json:"tpm,omitempty"`       // device or socket
	EventLog  string `json:"eventlog,omitempty"`  // file
	AKChain   string `json:"ak_chain,omitempty"`  // file, of an Azure vTPM's
	Simulator string `json:"simulator,omitempty"` // socket of openskr simulate
	State     string `json:"state,omitempty"`     // folder that keeps a TPM's AK certificate
	Recipient string `json:"recipient,omitempty"` // hybrid, p256 or rsa
	PCRs      string `json:"pcrs,omitempty"`      // as agent.ParsePCRs reads
	AllowSwap bool   `json:"allow_swap,omitempty"`
}

// ParseIdentity reads AGE-PLUGIN-OPENSKR-1…. Errors wrap [agent.ErrConfig].
func ParseIdentity(s string) (*Settings, error) {
	of, data, err := plugin.ParseIdentity(s)
	if err != nil {
		return nil, bad("identity: %w", err)
	}
	if of != name {
		return nil, bad("identity of the plugin %.32q: want AGE-PLUGIN-%s-1…", of, strings.ToUpper(name))
	}
	return decodeSettings(data)
}

func decodeSettings(b []byte) (*Settings, error) {
	var s Settings
	if err := strict.Unmarshal(b, maxSettings, &s); err != nil {
		return nil, bad("identity: %w", err)
	}
	return &s, s.check()
}

func (s *Settings) check() error {
	if s.V != settingsVersion {
		return bad("identity of version %d: this program knows %d", s.V, settingsVersion)
	}
	if _, err := parseKeyURL(s.Key); err != nil {
		return err
	}
	for what, path := range map[string]string{"config": s.Config, "tpm": s.TPM, "eventlog": s.EventLog, "ak_chain": s.AKChain, "simulator": s.Simulator, "state": s.State} {
		if path != "" && !filepath.IsAbs(path) {
			return bad("identity: %s %q: want an absolute path", what, path)
		}
	}
	if s.Platform != "" && agent.Platform(s.Platform) == "" {
		return bad("identity: platform %.32q: want one of %v", s.Platform, agent.Platforms())
	}
	if _, err := agent.ParsePCRs(s.PCRs); err != nil {
		return bad("identity: %w", err)
	}
	return nil
}

// Identity is s as age takes it. Errors wrap [agent.ErrConfig].
func (s Settings) Identity() (string, error) {
	s.V = settingsVersion
	if s.Config == defaultConfig {
		s.Config = ""
	}
	if err := s.check(); err != nil {
		return "", err
	}
	b, err := strict.Marshal(s)
	if err != nil {
		return "", err
	}
	if len(b) > maxSettings {
		return "", bad("identity: more than %d bytes", maxSettings)
	}
	return plugin.EncodeIdentity(name, b), nil
}

// released is a [Release] that opens the hardware for one key.
func (s *Settings) released(ctx context.Context, url string, notice func(string)) (rel *agent.Released, err error) {
	config := s.Config
	if config == "" {
		config = defaultConfig
	}
	trust, err := agent.ReadTrust(config)
	if err != nil {
		return nil, err
	}
	pcrs, err := agent.ParsePCRs(s.PCRs)
	if err != nil {
		return nil, err
	}
	_, built := agent.BuildInfo()
	a, err := agent.New(ctx, agent.Config{
		Trust: trust, State: s.State, Recipient: agent.RecipientKind(s.Recipient), Built: built, Notice: notice,
		Hardware: agent.Hardware{
			Platform: agent.Platform(s.Platform), TPM: s.TPM, EventLog: s.EventLog, AKChain: s.AKChain, Notice: notice, PCRs: pcrs, Simulator: s.Simulator,
		},
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := a.Close(); cerr != nil && err == nil {
			rel, err = nil, fmt.Errorf("close the hardware: %w", errors.Join(cerr, rel.Material.Close()))
		}
	}()
	return a.Key(ctx, url)
}
