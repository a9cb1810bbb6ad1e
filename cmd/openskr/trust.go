package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
)

// publishTrust keeps DIR/agent.json true: hosts, keys and, where the operator
// brought a certificate of another authority, its chain.
func (b *broker) publishTrust() error {
	t, err := b.dep.Trust(b.cfg.URLs())
	if err != nil {
		return err
	}
	if own := b.settings.Load().cert; own != nil {
		for _, der := range own.Certificate {
			t.CA += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
		}
	}
	text, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(b.dir, agentFile)
	text = append(text, '\n')
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return nil
	}
	b.logger.Info("agent.json changed: give the new one to images and agents", "path", path)
	if err := os.WriteFile(path+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
