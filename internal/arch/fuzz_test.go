package arch

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// parsers are the functions that read bytes from outside, each with the fuzz
// target that throws garbage at it ("folder.FuzzName"). A parser that reads only
// what this program wrote and sealed has a reason instead, starting with "-".
var parsers = map[string]string{
	// evidence
	"attest.Bytes.UnmarshalText":                "attest.FuzzBytes",
	"attest/binding.Parse":                      "attest/binding.FuzzParse",
	"attest/tpm.Verifier.Verify":                "attest/tpm.FuzzEvidence",
	"attest/tpm.FromAttestation":                "attest/tpm.FuzzFromAttestation",
	"attest/tpm.ParseAK":                        "attest/tpm.FuzzParseAK",
	"attest/tpm.VerifyEK":                       "attest/tpm.FuzzVerifyEK",
	"attest/tpm.AK.verify":                      "attest/tpm.FuzzSignature",
	"attest/tpm.akTrust.verify":                 "attest/tpm.FuzzAKCertificate",
	"attest/tpm.parseAttested":                  "attest/tpm.FuzzParseAttested",
	"attest/tpm.parseEventLog":                  "attest/tpm.FuzzEventLog",
	"attest/eventlog.Parse":                     "attest/tpm.FuzzEventLog",
	"attest/tpm.parseVariable":                  "attest/tpm.FuzzVariable",
	"attest/tpm.parseSignatureLists":            "attest/tpm.FuzzSignatureLists",
	"attest/tpm.parseSAN":                       "attest/tpm.FuzzSAN",
	"attest/gce.parseInstance":                  "attest/gce.FuzzInstance",
	"attest/tpm.Certificates":                   "attest/tpm.FuzzCertificates",
	"attest/nitro.Verifier.authenticate":        "attest/nitro.FuzzDocument",
	"attest/nitro.parsePayload":                 "attest/nitro.FuzzPayload",
	"attest/nitro/format.NewReader":             "attest/nitro/format.FuzzReader",
	"attest/nitro/format.DecodeRequest":         "attest/nitro/format.FuzzRequest",
	"attest/nitro/format.DecodeResponse":        "attest/nitro/format.FuzzResponse",
	"attest/azurecvm.Verifier.Verify":           "attest/azurecvm.FuzzEvidence",
	"attest/azurecvm.parseRuntime":              "attest/azurecvm.FuzzRuntime",
	"attest/azurecvm/format.ParseHCL":           "attest/azurecvm/format.FuzzParseHCL",
	"attest/azurecvm/format.ParseAKCertificate": "attest/azurecvm/format.FuzzParseAKCertificate",

	"attest/snp.parseReport":       "attest/snp.FuzzReport",
	"attest/snp.parseTable":        "attest/snp.FuzzTable",
	"attest/snp.parseCertificates": "attest/snp.FuzzCertificates",
	"attest/snp.parseLeaf":         "attest/snp.FuzzLeaf",
	"attest/snp.parseCRL":          "attest/snp.FuzzCRL",
	"attest/snp.ParseProducts":     "attest/snp.FuzzProducts",
	"attest/snp/guest.trim":        "attest/snp/guest.FuzzTrim",

	"attest/dcap.ParseQuote":      "attest/dcap.FuzzParseQuote",
	"attest/dcap.parseExtension":  "attest/dcap.FuzzExtension",
	"attest/dcap.parsePEM":        "attest/dcap.FuzzPEM",
	"attest/dcap.parseTCBInfo":    "attest/dcap.FuzzTCBInfo",
	"attest/dcap.parseQEIdentity": "attest/dcap.FuzzQEIdentity",
	"attest/tdx.Verifier.Verify":  "attest/tdx.FuzzEvidence",
	"attest/eventlog.ParseCC":     "attest/tdx.FuzzEventLog",
	"attest/tdx/format.TrimCCEL":  "attest/tdx/format.FuzzTrimCCEL",
	"attest/sgx.Verifier.Verify":  "attest/sgx.FuzzEvidence",

	// doors
	"internal/strict.Unmarshal":             "internal/strict.FuzzUnmarshal",
	"internal/strict.UnmarshalKnown":        "internal/strict.FuzzUnmarshal",
	"internal/api/route.Decode":             "internal/api.FuzzBodies",
	"internal/api/route.DecodeKnown":        "internal/api/attestation.FuzzGuest",
	"internal/api.normalize":                "internal/api.FuzzNormalize",
	"internal/api.bearer":                   "internal/api.FuzzBearer",
	"internal/api/keyvault.fold":            "internal/api/keyvault.FuzzFold",
	"internal/api/keyvault.anyBase64":       "internal/api/keyvault.FuzzAnyBase64",
	"internal/api/keyvault.door.parseToken": "internal/api/keyvault.FuzzPageToken",
	"internal/api/attestation.parseRequest": "internal/api/attestation.FuzzRequest",
	"internal/api/attestation.parseReport":  "internal/api/attestation.FuzzReport",
	"internal/api/attestation.parseGuest":   "internal/api/attestation.FuzzGuest",
	"internal/api/attestation.decodeBinary": "internal/api/attestation.FuzzBinary",
	"internal/api/attestation.parseData":    "internal/api/attestation.FuzzRequest",
	"internal/api/attestation.parseNonce":   "internal/api/attestation.FuzzRequest",
	"internal/identity.ParseForm":           "internal/identity.FuzzParseForm",
	"internal/identity.parseCRL":            "internal/identity.FuzzCRL",
	"internal/identity.readClaims":          "internal/identity.FuzzExternal",
	"internal/identity.Service.asserted":    "internal/identity.FuzzAssertion",
	"internal/identity.DecodePrincipal":     "internal/identity.FuzzDecodePrincipal",
	"internal/identity.DecodeAssignments":   "internal/identity.FuzzDecodeAssignments",
	"internal/api.scopeOf":                  "internal/api.FuzzScopeOf",
	"internal/api/keyvault.parseFilter":     "internal/api/keyvault.FuzzFilter",
	"internal/identity.DecodeAttestedRole":  "internal/identity.FuzzDecodeAttestedRole",
	"internal/jose.VerifyAttested":          "internal/jose.FuzzVerifyAttested",
	"internal/identity.Certificate.Parse":   "internal/identity.FuzzDecodePrincipal",
	"internal/jose.Verify":                  "internal/jose.FuzzVerify",
	"internal/jose.ParseKeySet":             "internal/jose.FuzzParseKeySet",
	"internal/jose.SplitForeign":            "internal/jose.FuzzSplitForeign",
	"attest/token.Verifier.Verify":          "attest/token.FuzzEvidence",
	"attest/token.parse":                    "attest/token.FuzzClaims",
	"attest/token.encryptionKey":            "attest/token.FuzzAssert",
	"internal/enroll.ParseAllowList":        "internal/enroll.FuzzParseAllowList",
	"internal/enroll.Service.Begin":         "internal/enroll.FuzzEnroll",
	"internal/enroll.sealer.open":           "internal/enroll.FuzzStateOpen",
	"release.Broker.Release":                "release.FuzzRequest",
	"release/challenge.Issuer.Begin":        "release/challenge.FuzzBegin",

	// keys
	"release/keyvault.Service.ParseKID":   "release/keyvault.FuzzParseKID",
	"release/keyvault.Service.ParseVault": "release/keyvault.FuzzParseVault",
	"release.TokenBroker.ParseVault":      "release/keyvault.FuzzParseVault",
	"release/keyvault.ParsePrivate":       "release/keyvault.FuzzParsePrivate",
	"release/keyvault.ParseDuration":      "release/keyvault.FuzzParseDuration",
	"release/keyvault.FromJWK":            "release/keyvault.FuzzFromJWK",
	"release/keyvault/p256k.ParsePKCS8":   "release/keyvault/p256k.FuzzParse",
	"release/keyvault/p256k.ParseSEC1":    "release/keyvault/p256k.FuzzParse",
	"release/keyvault.unseal":             "release/keyvault.FuzzUnseal",
	"release/keyvault.parseBackup":        "release/keyvault.FuzzBackup",
	"release/keyvault.openBackup":         "release/keyvault.FuzzBackup",
	"release/wrap.ParseRecipient":         "release/wrap.FuzzParseRecipient",
	"release/wrap.UnwrapKWP":              "release/wrap.FuzzUnwrapKWP",
	"release/wrap.UnwrapKW":               "release/wrap.FuzzUnwrapKW",
	"internal/seal.parse":                 "internal/seal.FuzzKeyFile",
	"internal/deployment.decodeRing":      "internal/deployment.FuzzDecode",
	"internal/deployment.decodePublic":    "internal/deployment.FuzzDecode",

	// policies
	"policies.Engine.Inspect": "policies.FuzzInspect",
	"policies.serve":          "policies.FuzzServe",
	"policies.readAnswer":     "policies.FuzzReadAnswer",
	"policies.readJSON":       "policies.FuzzJSON",
	"policies/azure.Parse":    "policies/azure.FuzzParse",

	// what an auditor, an agent or an operator reads
	"release/receipt.Decode":               "release/receipt.FuzzDecode",
	"release/receipt.Digest.UnmarshalText": "release/receipt.FuzzDigest",
	"release/receipt.OpenCheckpoint":       "release/receipt.FuzzCheckpoint",
	"internal/uki.Parse":                   "internal/uki.FuzzParse",
	"internal/uki.Authenticode":            "internal/uki.FuzzParse",
	"internal/audit.readLine":              "internal/audit.FuzzReadLine",
	"internal/audit.parseMark":             "internal/audit.FuzzMark",
	"enclave-agent.ParsePCRs":              "- the command line of this program",
	"enclave-agent.ParseTrust":             "enclave-agent.FuzzParseTrust",
	"enclave-agent.chain":                  "enclave-agent.FuzzChain",
	"enclave-agent.parseSecret":            "enclave-agent.FuzzParseSecret",
	"enclave-agent.parseSwaps":             "enclave-agent.FuzzParseSwaps",
	"enclave-agent.ParseSecretRef":         "enclave-agent.FuzzParseSecretRef",
	"enclave-agent.openJWS":                "enclave-agent.FuzzOpenJWS",
	"enclave-agent/local.ParseConfig":      "enclave-agent/local.FuzzParseConfig",
	"enclave-agent/local.release":          "enclave-agent/local.FuzzRelease",
	"enclave-agent/file.Open":              "enclave-agent/file.FuzzOpen",
	"enclave-agent/boot.parseHeader":       "enclave-agent/boot.FuzzHeader",
	"enclave-agent/boot.ParseDisks":        "enclave-agent/boot.FuzzDisks",
	"enclave-agent/boot.parseTag":          "enclave-agent/boot.FuzzTag",

	"enclave-agent/keyprovider.parseInput":      "enclave-agent/keyprovider.FuzzParseInput",
	"enclave-agent/keyprovider.parseAnnotation": "enclave-agent/keyprovider.FuzzParseAnnotation",
	"enclave-agent/keyprovider.parsePublic":     "enclave-agent/keyprovider.FuzzParsePublic",

	"enclave-agent/ageplugin.ParseRecipient":  "enclave-agent/ageplugin.FuzzParseRecipient",
	"enclave-agent/ageplugin.ParsePublicKey":  "enclave-agent/ageplugin.FuzzParsePublicKey",
	"enclave-agent/ageplugin.ParseIdentity":   "enclave-agent/ageplugin.FuzzParseIdentity",
	"enclave-agent/ageplugin.Identity.Unwrap": "enclave-agent/ageplugin.FuzzStanza",
	"enclave-agent/cse.Parse":                 "enclave-agent/cse.FuzzParse",
	"cmd/openskr.readPCRs":                    "cmd/openskr.FuzzReadPCRs",
	"cmd/openskr.parseConfig":                 "cmd/openskr.FuzzConfig",

	// what authorities publish
	"internal/endorser.collector.add":  "internal/endorser.FuzzCollateral",
	"internal/endorser.decodeEnvelope": "internal/endorser.FuzzEnvelope",
	"internal/endorser.chainOf":        "internal/endorser.FuzzAnswer",
	"internal/endorser.keysAddress":    "internal/endorser.FuzzAnswer",
	"internal/endorser.checkKeySet":    "internal/endorser.FuzzAnswer",
	"internal/endorser.retryAfter":     "internal/endorser.FuzzAnswer",

	// tests and demo
	"internal/swtpm.parseLog":         "internal/swtpm.FuzzParseLog",
	"internal/simulate.ParseQuestion": "internal/simulate.FuzzParseQuestion",
	"testvectors.Parse":               "testvectors.FuzzParse",
}

// An exported function with such a name that takes bytes or text is a parser, so
// that a new one cannot be forgotten.
var looksLikeParser = regexp.MustCompile(`^(?:[A-Z]\w*\.)?(?:Parse|Decode|Unmarshal)`)

func TestEveryParserIsFuzzed(t *testing.T) {
	targets := fuzzTargets(t)
	declared := map[string]bool{}
	for _, fn := range functions(t) {
		full := fn.pkg + "." + fn.name
		declared[full] = true
		if !looksLikeParser.MatchString(fn.name) || !takesBytes(fn.decl) {
			continue
		}
		if parsers[full] == "" {
			t.Errorf("%s: %s reads bytes and is not in the list of parsers: add it with its fuzz target", fn.file, full)
		}
	}
	listed := map[string]bool{}
	for parser, target := range parsers {
		listed[target] = true
		if !declared[parser] {
			t.Errorf("%s is in the list of parsers but not in the code", parser)
		}
		if !strings.HasPrefix(target, "-") && !targets[target] {
			t.Errorf("%s: no fuzz target %s", parser, target)
		}
	}
	for target := range targets {
		if !listed[target] {
			t.Errorf("%s is a fuzz target of no parser in the list: add the parser", target)
		}
	}
}

// takesBytes says whether a parameter is []byte or string.
func takesBytes(fn *ast.FuncDecl) bool {
	for _, p := range fn.Type.Params.List {
		switch typ := p.Type.(type) {
		case *ast.ArrayType:
			if id, ok := typ.Elt.(*ast.Ident); ok && id.Name == "byte" {
				return true
			}
		case *ast.Ident:
			if typ.Name == "string" {
				return true
			}
		}
	}
	return false
}

var fuzzFunc = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)

func fuzzTargets(t *testing.T) map[string]bool {
	t.Helper()
	dir := root(t)
	out := map[string]bool{}
	for _, f := range tree(t) {
		if !f.test {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, f.path))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range fuzzFunc.FindAllSubmatch(b, -1) {
			out[f.pkg+"."+string(m[1])] = true
		}
	}
	return out
}
