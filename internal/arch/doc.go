// Package arch holds the rules of docs/architecture.md as tests: who may import
// whom, how large a file may grow, which parsers are fuzzed, which dependencies
// are argued for. It has no code of its own.
package arch
