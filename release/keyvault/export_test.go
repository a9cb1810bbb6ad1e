package keyvault

// AlgorithmNames gives the names of the table, with whether they are weak ones.
func AlgorithmNames() map[string]bool {
	out := map[string]bool{}
	for name, a := range algorithms() {
		out[name] = a.legacy
	}
	return out
}
