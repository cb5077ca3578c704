// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker_test

import "github.com/cardbroker/cardbroker/test/arch"

// support are the folders that only tests, the demo and the benchmarks import.
var support = []string{"test", "internal/testenv", "sandbox/sandboxtest", "virtualreader/cardend/cardtest"}

// areas say which way imports go: cmd → the parts → internal → api → the dictionary → apdu. The parts do not import each
// other, but for the edges named here.
var areas = []arch.Area{
	{Name: "apdu", Folders: []string{"apdu"}},
	{Name: "root", Folders: []string{"."}, Imports: []string{"apdu"}},
	{Name: "api", Folders: []string{"api"}, Imports: []string{"root", "apdu"}},
	{Name: "internal", Folders: []string{"internal"}, Imports: []string{"firewall", "api", "root", "apdu"}}, // config reads its rules
	{Name: "testenv", Folders: []string{"internal/testenv"}},                                                // imported by tests, which are free
	{Name: "wire", Folders: []string{"virtualreader/wire"}, Imports: []string{"root", "apdu"}},
	{Name: "script", Folders: []string{"virtualreader/script"}, Imports: []string{"wire", "root", "apdu"}},
	{Name: "socket", Folders: []string{"virtualreader/socket"}, Imports: []string{"wire", "internal", "api", "root", "apdu"}},
	{Name: "relay", Folders: []string{"virtualreader/relay"}, Imports: []string{"wire", "socket", "internal", "api", "root", "apdu"}},
	{Name: "firewall", Folders: []string{"virtualreader/cardend/firewall"}, Imports: []string{"root", "apdu"}},
	{Name: "cardend", Folders: []string{"virtualreader/cardend"}, Imports: []string{"firewall", "wire", "script", "socket", "internal", "api", "root", "apdu"}},
	{Name: "pcscd", Folders: []string{"virtualreader/pcscd"}, Imports: []string{"internal", "root", "apdu"}},
	{Name: "remote", Folders: []string{"virtualreader/remote"}, Imports: []string{"virtualreader", "pcscd", "internal", "root", "apdu"}},
	{Name: "virtualreader", Folders: []string{"virtualreader"}, Imports: []string{"wire", "script", "socket", "internal", "api", "root", "apdu"}},
	{Name: "rendezvous", Folders: []string{"virtualreader/rendezvous"}, Imports: []string{"socket", "internal", "api", "root", "apdu"}},
	{Name: "client", Folders: []string{"client"}, Imports: []string{"socket", "wire", "internal", "api", "root", "apdu"}},
	{Name: "store", Folders: []string{"store"}, Imports: []string{"internal", "api", "root", "apdu", "wire"}},
	{Name: "election", Folders: []string{"election"}, Imports: []string{"internal", "api", "root", "apdu", "wire"}},
	{Name: "sandbox", Folders: []string{"sandbox"}, Imports: []string{"internal", "api", "root", "apdu", "wire"}},
	{Name: "broker", Folders: []string{"broker"}, Imports: []string{"relay", "wire", "socket", "internal", "api", "root", "apdu"}},
	{Name: "agent", Folders: []string{"agent"}, Imports: []string{"web", "cardend", "firewall", "script", "client", "wire", "socket", "internal", "api", "root", "apdu"}},
	{Name: "web", Folders: []string{"web"}, Imports: []string{"root", "apdu"}},
	{Name: "cmd", Folders: []string{"cmd"}, Imports: []string{"*"}},
	{Name: "test", Folders: []string{"test"}, Imports: []string{"*"}},
}

// abstentions say what some programs are to be unable to do, because it is not in them.
var abstentions = []arch.Abstention{
	{Folder: "broker/elected", From: []string{"broker/tenant", "broker/issuer", "broker/dialout", "broker/forward", "broker/localca", "broker/audit", "broker/metrics",
		"virtualreader/relay"}}, // an elected leader is some user's agent
}

// fences say where a library may be imported; a dependency without a row is refused.
var fences = []arch.Fence{
	{Library: "github.com/gorilla/websocket", Folders: []string{"virtualreader/socket", "test"}}, // the others use package socket
	{Library: "github.com/gorilla/websocket", Folders: []string{"*"}, Tests: true},
	{Library: "github.com/ebfe/scard", Folders: []string{"sandbox/pcsc"}},
	{Library: "github.com/ebfe/scard", Folders: []string{"test/bench/calls"}}, // measures the calls as a program makes them
	{Library: "github.com/miekg/pkcs11", Folders: []string{"sandbox/pkcs11"}},
	{Library: "github.com/miekg/pkcs11", Folders: []string{"test/bench/tokens"}},   // measures the calls as a program makes them
	{Library: "github.com/go-jose/go-jose/v4", Folders: []string{"internal/jose"}}, // the others sign, verify and decrypt through it
	{Library: "github.com/go-jose/go-jose/v4", Folders: []string{"*"}, Tests: true},
	{Library: "github.com/coreos/go-systemd/v22", Folders: []string{"cmd", "internal/hostsession", "internal/logs"}},
	{Library: "github.com/godbus/dbus/v5", Folders: []string{"internal/hostsession", "test/loginbed"}}, // logind
	{Library: "github.com/godbus/dbus/v5", Folders: []string{"agent/notice", "test/noticebed"}},        // the desktop
	{Library: "github.com/godbus/dbus/v5", Folders: []string{"*"}, Tests: true},
	{Library: "github.com/prometheus/client_golang", Folders: []string{"*"}, Tests: true}, // reads what broker/metrics writes
	{Library: "github.com/prometheus/client_model", Folders: []string{"*"}, Tests: true},
	{Library: "github.com/prometheus/common", Folders: []string{"*"}, Tests: true},
	{Library: "github.com/goccy/go-yaml", Folders: []string{"internal/config", "virtualreader/script"}},
	{Library: "github.com/spf13/cobra", Folders: []string{"cmd"}},
	{Library: "go.etcd.io/bbolt", Folders: []string{"store"}},
	{Library: "github.com/hashicorp/memberlist", Folders: []string{"election"}},
	{Library: "github.com/hashicorp/memberlist", Folders: []string{"test/election/actor"}}, // the peer: gossip that knows nothing else
	{Library: "golang.org/x/sys/unix", Folders: []string{"*"}, Suffixes: []string{"_linux.go", "_linux_test.go", "_unix.go", "_unix_test.go"}},
	{Library: "golang.org/x/sys/unix", Folders: []string{"sandbox/confine"}, Suffixes: []string{"_linux_amd64.go", "_linux_arm64.go"}}, // system calls have other numbers
	{Library: "golang.org/x/sys/windows", Folders: []string{"*"}, Suffixes: []string{"_windows.go", "_windows_test.go"}},
	{Library: "golang.org/x/time", Folders: []string{"internal", "broker", "agent", "virtualreader/rendezvous"}},
	{Library: "github.com/getkin/kin-openapi", Folders: []string{"*"}, Tests: true},
	{Library: "github.com/getkin/kin-openapi", Folders: []string{"test/openapi", "test/apidoc"}},
	{Library: "github.com/rogpeppe/go-internal", Folders: []string{"*"}, Tests: true},
	{Library: "pgregory.net/rapid", Folders: []string{"*"}, Tests: true},

	// Of the standard library.
	{Library: "C"}, // the sandbox's PC/SC has cgo in its library
	{Library: "flag", Folders: []string{"*"}, Tests: true}, // -update of golden files; command lines are cobra's
	{Library: "log"}, // a *slog.Logger is passed to New
	{Library: "log/slog", Folders: []string{"*"}},
	{Library: "math/rand"}, // crypto/rand, or math/rand/v2 where guessing harms nobody
	{Library: "math/rand/v2", Folders: []string{"*"}},
	{Library: "os/exec", Folders: []string{"agent", "cmd", "test", "internal/testenv"}},
	{Library: "os/exec", Folders: []string{"*"}, Tests: true},
	{Library: "plugin"},
	{Library: "testing", Folders: support},
	{Library: "testing", Folders: []string{"*"}, Tests: true},
	{Library: "unsafe", Folders: []string{"sandbox/confine"}, Suffixes: []string{"_linux.go"}},        // four system calls without a wrapper in x/sys
	{Library: "unsafe", Folders: []string{"sandbox/pkcs11"}, Suffixes: []string{"pin.go"}},            // a PIN as a string without a copy that nobody overwrites
	{Library: "unsafe", Folders: []string{"internal/quiet"}, Suffixes: []string{"_linux.go"}},         // raw system calls
	{Library: "unsafe", Folders: []string{"internal/hostsession"}, Suffixes: []string{"_windows.go"}}, // a window that is told of the session: x/sys has none
}

// bans are names that are used nowhere, or in some folders only, because there is one other way.
var bans = []arch.Ban{
	{Package: "fmt", Names: []string{"Print", "Printf", "Println"}, Except: []string{"cmd", "test"}, Tests: true, Why: "only programs print, to the writer they are given"},
	{Package: "os", Names: []string{"Stdin", "Stdout", "Stderr", "Exit"}, Except: []string{"cmd", "test", "api/errordoc"}, Tests: true, Why: "belongs to main"},
	{Package: "log/slog", Names: []string{"Default", "SetDefault", "Debug", "Info", "Warn", "Error", "DebugContext", "InfoContext", "WarnContext", "ErrorContext"}, Tests: true, Why: "a *slog.Logger is passed to New"},
	{Package: "net/http", Names: []string{"Error", "NotFound"}, Tests: true, Why: "errors go out through api.WriteError"},
	{Package: "net/http", Names: []string{"NewServeMux", "Handle", "HandleFunc", "DefaultServeMux"}, Except: []string{"internal/httpserver"}, Tests: true, Why: "routes stand in a table"},
	{Package: "net/http", Names: []string{"Get", "Post", "PostForm", "Head", "DefaultClient", "DefaultTransport"}, Tests: true, Why: "package client calls our own API"},
	{Package: "runtime", Names: []string{"GOOS", "GOARCH"}, Except: []string{"test"}, Tests: true, Why: "a file suffix tells systems apart"},
	{Package: "time", Names: []string{"Sleep", "Tick"}, Unless: "testing/synctest", Why: "waits have an event and an end"},
	{Names: []string{"t.Skip", "t.Skipf", "t.SkipNow", "tb.Skip", "tb.Skipf", "b.Skip", "b.Skipf", "f.Skip"}, Except: []string{"internal/testenv"}, Why: "testenv.Skip, so that a required test fails instead"},
}

// banned are the uses of a banned name that stay.
var banned = []arch.Exception{
	{Key: "api/info.go", Count: 2, Why: "/info tells clients which system this is"},
	{Key: "sandbox/softcard/card.go", Count: 1, Why: "a card that takes its time, for measurements"},
	{Key: "agent/cards/fake_test.go", Count: 2, Why: "a card that takes its time, in a process of its own"},
	{Key: "broker/registry/host_test.go", Count: 1, Why: "a disk that takes its time, in the bubbles of the tests"},
}

// habits are recovers and panics with a reason.
var habits = []arch.Exception{
	{Key: "internal/httpserver/server.go", Count: 1, Why: "a handler's panic, which net/http would keep to itself, is handed on and ends the process"},
	{Key: "store/damage.go", Count: 1, Why: "bbolt panics on a damaged page, which is a finding there"},
}

// logKeys are the names under which logs give facts.
const logKeys = "host session user agent port tenant origin reader atr module slot tunnel backend term req method route " +
	"status dur reason code err retries sw ins bytes frames pid " +
	"landlock seccomp" // of the sandbox's first line: what the kernel confines it by

// goroutines are what starts one outside internal/run, which owns all others.
var goroutines = []arch.Exception{
	{Key: "internal/run/run.go", Count: 1, Why: "run.Group itself"},
	{Key: "sandbox/pcsc/watch.go", Count: 2, Why: "who cancels the watcher's wait, which waits for him; and questions to new readers, which nobody can cancel"},
	{Key: "sandbox/conversation.go", Count: 2, Why: "the owners of readers and slots and the watcher, whose C calls cannot be cancelled; and who waits for them, with a limit"},
	{Key: "virtualreader/socket/push.go", Count: 1, Why: "the reading goroutine of a WebSocket; Run waits for it"},
}

// locks are leaves: nothing is called, sent or waited for while one is held, but for what its reason says.
var locks = []arch.Exception{
	{Key: "broker/metrics/table.go", Count: 1, Why: "which agents a tenant has tunnels to: a map look-up"},
	{Key: "broker/metrics/text.go", Count: 1, Why: "the lines of a counter: a map look-up, or a copy of it"},
	{Key: "internal/httpserver/users.go", Count: 1, Why: "counts what a user has open: a map look-up"},
	{Key: "internal/processors/processors.go", Count: 1, Why: "counts who wants processors, and tells the runtime"},
	{Key: "virtualreader/socket/socket.go", Count: 1, Why: "a WebSocket's write mutex, held for one write that has a deadline"},
}

// globals are package variables that nobody assigns to after they were made.
var globals = []arch.Exception{
	{Key: "internal/httpserver/users.go:unnamed", Count: 1, Why: "a constant of a struct type"},
	{Key: "test/softtoken/bed_linux.go:theKeys", Count: 1, Why: "made once: it takes a while"},
	{Key: "test/softtoken/keys.go:made", Count: 1, Why: "the same"},
}

// functions are longer than the limit and better so.
var functions = []arch.Exception{
	{Key: "apdu/status.go:exactWords", Count: 1, Why: "one table, read from top to bottom"},
	{Key: "sandbox/pkcs11/mechanism.go:mechanismNames", Count: 1, Why: "one table, read from top to bottom"},
}

// files are longer than the limit and better so.
var files = []arch.Exception{}

// interfaces have more methods than the limit.
var interfaces = []arch.Exception{
	{Key: "virtualreader/cardend/cardend.go:Card", Count: 1, Why: "the same, with the two that come in pairs embedded"},
	{Key: "sandbox/reader.go:Card", Count: 1, Why: "what PC/SC does with a connected card, and with its reader"},
}

// packages are longer than the limit and better so.
var packages = []arch.Exception{
	{Key: "cmd/cardbroker", Count: 1, Why: "the command line of three audiences: a file for each command, which share how they ask and print"},
}
