package compat

// Group is one table of the page.
type Group struct {
	Title string
	// Intro says what applies to the whole group.
	Intro string
	Rows  []Row
}

// Row is one operation. Where Cells says nothing, the client works.
type Row struct {
	Name  string
	Cells map[Client]Cell
}

// Cell is what deviates from "works". An empty Outcome means that the client,
// as its makers publish it, has no such call.
type Cell struct {
	Outcome Outcome
	Why     string
}

// sdks is what the sidecar and AzureAttestSKR have no call for.
func sdks(name string) Row { return row(name, no(Sidecar, AttestSKR)) }

// row is an operation with the deviations of some clients.
func row(name string, cells ...map[Client]Cell) Row {
	r := Row{Name: name, Cells: map[Client]Cell{}}
	for _, m := range cells {
		for c, cell := range m {
			r.Cells[c] = cell
		}
	}
	return r
}

// no says which clients have no such call.
func no(clients ...Client) map[Client]Cell {
	out := map[Client]Cell{}
	for _, c := range clients {
		out[c] = Cell{}
	}
	return out
}

// refused says which clients are refused on purpose, and why.
func refused(why string, clients ...Client) map[Client]Cell {
	return deviates(Refused, why, clients)
}

// differs says for which clients an operation is not as at Azure, and how.
func differs(why string, clients ...Client) map[Client]Cell {
	return deviates(Differs, why, clients)
}

func deviates(o Outcome, why string, clients []Client) map[Client]Cell {
	out := map[Client]Cell{}
	for _, c := range clients {
		out[c] = Cell{o, why}
	}
	return out
}

// Operations are the rows of the page, in order.
func Operations() []Group {
	return []Group{identities(), keys(), operations(), release(), secrets(), roles(), attestation(), limits()}
}

func identities() Group {
	return Group{"Identity", "Every client finds the token service by the 401 answer of the vault, and verifies that the vault's host belongs to the resource it names; at a host without a vault's name that check has to be turned off in the client. [authentication.md](authentication.md) says what each library needs to be told of the token service.", []Row{
		sdks("service principal with a secret"),
		sdks("service principal with a certificate"),
		sdks("workload federation"),
		row("managed identity (IDENTITY_ENDPOINT)", no(Sidecar, AttestSKR)),
		row("access token from elsewhere", no(CLI, AttestSKR)),
		row("default vault, at a host without a vault's name", no(CLI, Sidecar, AttestSKR)),
		row("request without a role", refused("`Forbidden`, before anything is looked up: what exists is not told to who may not know it", Go, JS, Python, CLI), no(Sidecar, AttestSKR)),
	}}
}

func keys() Group {
	return Group{"Keys", "", []Row{
		sdks("key create RSA"),
		sdks("key create EC"),
		sdks("key create oct"),
		row("key types ending in -HSM", differs("accepted, and answered without the suffix: keys are held in software and are not called otherwise", Go, JS, Python, CLI), no(Sidecar, AttestSKR)),
		sdks("key create exportable with policy"),
		row("key create exportable without policy", refused("as at Azure: `Exportable keys must have release policy`", Go, JS, Python, CLI), no(Sidecar, AttestSKR)),
		sdks("key import"),
		sdks("key get"),
		sdks("key update"),
		sdks("key list"),
		sdks("key list versions"),
		sdks("key delete"),
		sdks("key get deleted"),
		sdks("key list deleted"),
		sdks("key recover"),
		sdks("key purge"),
		sdks("key backup"),
		sdks("key restore"),
		sdks("key rotate"),
		sdks("key get rotation policy"),
		sdks("key set rotation policy"),
		row("key attestation", differs("the broker's own word about the public half of a key that it holds in software, not that of an HSM's maker ([wire/keyvault.md](wire/keyvault.md))", Go, JS, Python, CLI), no(Sidecar, AttestSKR)),
		sdks("random bytes"),
	}}
}

func operations() Group {
	const weak = "RSA1_5 and CBC are padding oracles; a vault's `legacy_algorithms` allows them"
	return Group{"Cryptographic operations", "", []Row{
		sdks("encrypt and decrypt, RSA-OAEP"),
		sdks("encrypt and decrypt, AES-GCM"),
		row("wrap and unwrap, RSA-OAEP", no(CLI, Sidecar, AttestSKR)),
		row("wrap and unwrap, AES-KW", no(CLI, Sidecar, AttestSKR)),
		row("wrap and unwrap, CKM_AES_KEY_WRAP and _PAD", no(CLI, Sidecar, AttestSKR)),
		sdks("sign and verify, RSA"),
		sdks("sign and verify, EC"),
		sdks("sign and verify, P-256K"),
		row("sign and verify, HMAC", no(JS, Sidecar, AttestSKR)),
		row("weak algorithms", refused(weak, Go, JS, Python, CLI), no(Sidecar, AttestSKR)),
		sdks("weak algorithms, where a vault allows them"),
	}}
}

func release() Group {
	return Group{"Release", "", []Row{
		row("key release", no(CLI)),
		row("key release, policy not met", refused("`Forbidden`; the reason is in the log, for its auditors", Go, JS, Python, Sidecar, AttestSKR), no(CLI)),
	}}
}

func secrets() Group {
	rows := []Row{}
	for _, op := range []string{"set", "get", "update", "list", "list versions", "delete", "get deleted", "list deleted", "recover", "purge", "backup", "restore"} {
		rows = append(rows, sdks("secret "+op))
	}
	return Group{"Secrets", "", rows}
}

func roles() Group {
	rows := []Row{}
	for _, op := range []string{"role assignment create", "role assignment list", "role assignment delete", "role definition list"} {
		rows = append(rows, row(op, no(Go, JS, Sidecar, AttestSKR)))
	}
	return Group{"Roles", "Go and JavaScript manage roles with libraries that are not part of this table (azadmin, keyvault-admin).", rows}
}

func attestation() Group {
	return Group{"Attestation", "", []Row{
		row("attest SevSnpVm", no(Go, JS, Python, CLI, AttestSKR)),
		row("attest AzureGuest", no(Go, JS, Python, CLI, Sidecar)),
	}}
}

func limits() Group {
	return Group{"Limits", "Where a broker answers 429 for its [`throttle`](operations.md#limits), a client waits for as long as `Retry-After` says and asks again, by itself.", []Row{
		row("request beyond the rate", no(CLI, Sidecar, AttestSKR)),
	}}
}
