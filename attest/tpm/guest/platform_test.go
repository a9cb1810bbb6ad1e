package guest

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-tpm/tpm2"
)

func platformTemplate(hash tpm2.TPMIAlgHash) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: akTemplate().ObjectAttributes,
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			Scheme: tpm2.TPMTRSAScheme{
				Scheme:  tpm2.TPMAlgRSASSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: hash}),
			},
			KeyBits: 2048,
		}),
	}
}

// persist makes a primary key that stays.
func persist(t *testing.T, g *TPM, at uint32, template tpm2.TPMTPublic) {
	t.Helper()
	o, err := g.createPrimary(tpm2.TPMRHEndorsement, template)
	if err == nil {
		_, err = tpm2.EvictControl{
			Auth:             tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: empty()},
			ObjectHandle:     &tpm2.NamedHandle{Handle: o.handle, Name: o.name},
			PersistentHandle: tpm2.TPMHandle(at),
		}.Execute(g)
		g.flush(o.handle, &err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The AK of the platform quotes and certifies, and is still there afterwards.
func TestPlatformAK(t *testing.T) {
	_, g := start(t)
	const sound, wrongHash, unrestricted, missing = 0x81000003, 0x81000004, 0x81000005, 0x81000006
	persist(t, g, sound, platformTemplate(tpm2.TPMAlgSHA256))
	persist(t, g, wrongHash, platformTemplate(tpm2.TPMAlgSHA384))
	open := platformTemplate(tpm2.TPMAlgSHA256)
	open.ObjectAttributes.Restricted = false
	persist(t, g, unrestricted, open)

	sel := DefaultSelection()
	g.AKHandle = sound
	for range 2 {
		r, err := g.NewRecipient(t.Context(), P256, sel)
		if err != nil {
			t.Fatal(err)
		}
		part, err := g.Part(t.Context(), []byte("runtime data"), sel, r)
		if err != nil {
			t.Fatal(err)
		}
		o, err := g.readPublic(sound)
		if err != nil || !bytes.Equal(part.AK, o.bytes()) || part.Recipient == nil {
			t.Fatalf("AK sent %x, %v", part.AK, err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range []uint32{wrongHash, unrestricted, missing} {
		g.AKHandle = h
		if _, err := g.Part(t.Context(), []byte("runtime data"), sel, nil); err == nil {
			t.Errorf("a quote by the key at %#x", h)
		}
	}
}

func TestReadNV(t *testing.T) {
	_, g := start(t)
	const index = 0x01400001
	if _, err := g.ReadNV(t.Context(), index, 2048); !errors.Is(err, ErrNoNV) {
		t.Fatalf("no index: %v", err)
	}
	want := bytes.Repeat([]byte("0123456"), 200) // more than one chunk
	define(t, g, index, want)
	got, err := g.ReadNV(t.Context(), index, len(want))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if _, err := g.ReadNV(t.Context(), index, len(want)-1); err == nil || errors.Is(err, ErrNoNV) {
		t.Errorf("above the limit: %v", err)
	}
}

func define(t *testing.T, g *TPM, index tpm2.TPMHandle, b []byte) {
	t.Helper()
	owner := tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: empty()}
	_, err := tpm2.NVDefineSpace{AuthHandle: owner, PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
		NVIndex: index, NameAlg: tpm2.TPMAlgSHA256, DataSize: uint16(len(b)),
		Attributes: tpm2.TPMANV{OwnerWrite: true, OwnerRead: true, NoDA: true},
	})}.Execute(g)
	for at := 0; err == nil && at < len(b); at += nvChunk {
		var p *tpm2.NVReadPublicResponse
		if p, err = (tpm2.NVReadPublic{NVIndex: index}).Execute(g); err == nil {
			_, err = tpm2.NVWrite{
				AuthHandle: owner, NVIndex: tpm2.NamedHandle{Handle: index, Name: p.NVName},
				Data: tpm2.TPM2BMaxNVBuffer{Buffer: b[at:min(at+nvChunk, len(b))]}, Offset: uint16(at),
			}.Execute(g)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}
