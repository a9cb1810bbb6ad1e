package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
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
	t.VaultSuffixes = b.cfg.Suffixes()
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
	return replaceFile(path, text, 0o644)
}

// replaceFile puts a new text in place whole: a reader, and a power cut, see the
// old one or the new one.
func replaceFile(path string, text []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
