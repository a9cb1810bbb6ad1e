package api

import (
	"errors"
	"net/url"
	"strings"
)

// errPath says that a path is refused before routing.
var errPath = errors.New("path refused: letters, digits and - . _ ~ between single slashes, no dot segments, no encoded separators")

// reserved are the words of Key Vault paths that clients write in any case. A
// key's name and version are never among the segments that are folded.
var reserved = map[string]bool{
	"create": true, "versions": true, "release": true, "backup": true, "rotate": true, "rotationpolicy": true, "attestation": true,
	"encrypt": true, "decrypt": true, "wrapkey": true, "unwrapkey": true, "sign": true, "verify": true, "recover": true,
}

// attestTypes are the types of /attest/…, which clients of Azure Attestation write
// in any case: Microsoft's SKR sidecar asks for SevSnpVM.
var attestTypes = map[string]string{"sevsnpvm": "SevSnpVm", "tdxvm": "TdxVm", "sgxenclave": "SgxEnclave", "azureguest": "AzureGuest"}

// keyVault are the first segments of Key Vault paths.
var keyVault = map[string]bool{"keys": true, "deletedkeys": true, "secrets": true, "deletedsecrets": true, "rng": true}

// normalize gives the one path that routing, authorisation and handlers see, made
// of a request's escaped path. Key Vault paths lose their empty segments
// (/keys/k//sign and /keys/k/ are what clients send for "no version", //providers/…
// for the scope /) and the case of their reserved words; nothing is ever redirected. What is left is of harmless
// characters only, so that no later reader can read it differently.
func normalize(escaped string) (string, error) {
	path, err := url.PathUnescape(escaped)
	if err != nil || !strings.HasPrefix(path, "/") || len(path) > 1024 {
		return "", errPath
	}
	for _, c := range []byte(path) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && strings.IndexByte("/-._~", c) < 0 {
			return "", errPath
		}
	}
	if strings.Count(escaped, "/") != strings.Count(path, "/") { // an encoded slash
		return "", errPath
	}
	var segments []string
	empty := false
	for s := range strings.SplitSeq(path[1:], "/") {
		switch s {
		case ".", "..":
			return "", errPath
		case "":
			empty = true
		default:
			segments = append(segments, s)
		}
	}
	if len(segments) == 0 {
		return "/", nil
	}
	if scope, rest, ok := rolePath(segments); ok {
		segments = append(scope[:len(scope):len(scope)], rest...)
	} else if first := strings.ToLower(segments[0]); keyVault[first] {
		segments[0] = first
		for i := 2; i < len(segments); i++ { // 1 is a name
			if word := strings.ToLower(segments[i]); reserved[word] {
				segments[i] = word
			}
		}
	} else if empty {
		return "", errPath
	} else if word := attestTypes[strings.ToLower(segments[len(segments)-1])]; first == "attest" && len(segments) == 2 && word != "" {
		segments[0], segments[1] = first, word
	}
	return "/" + strings.Join(segments, "/"), nil
}
