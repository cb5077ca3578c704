// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"path"
	"slices"
	"strings"
)

// Area is a part of the tree that imports as one.
type Area struct {
	Name    string
	Folders []string // each with what is below it, but for what another area names more closely
	Imports []string // the areas that it may import besides itself; "*" is all
}

// Direction finds imports within the module that no area allows. Tests are free: they use real parts from anywhere.
func Direction(tree Tree, areas []Area) []Finding {
	var found []Finding
	for _, f := range tree.Code() {
		from := areaOf(f.Folder(), areas)
		if from == nil {
			found = append(found, f.find(f.AST.Package, "%s belongs to no area", f.Folder()))
			continue
		}
		for _, spec := range f.AST.Imports {
			folder, inside := folderOf(unquote(spec.Path))
			if !inside {
				continue
			}
			to := areaOf(folder, areas)
			if to == nil || to != from && !slices.Contains(from.Imports, to.Name) && !slices.Contains(from.Imports, "*") {
				found = append(found, f.find(spec.Pos(), "%s may not import %s", from.Name, folder))
			}
		}
	}
	return found
}

// Abstention is what a folder's package must not be linked with, however far away it is imported.
type Abstention struct {
	Folder string
	From   []string // folders
}

// Abstentions finds the ways on which a folder's package gets at what it abstains from. A folder that is not there is a finding.
func Abstentions(tree Tree, abstentions []Abstention) []Finding {
	imports := map[string][]string{}
	for _, f := range tree.Code() {
		imports[f.Folder()] = append(imports[f.Folder()], ownImports(f)...)
	}
	var found []Finding
	for _, a := range abstentions {
		via := map[string]string{a.Folder: ""} // from whom a folder was reached first
		for queue := []string{a.Folder}; len(queue) > 0; queue = queue[1:] {
			for _, next := range imports[queue[0]] {
				if _, seen := via[next]; !seen {
					via[next] = queue[0]
					queue = append(queue, next)
				}
			}
		}
		for _, folder := range append([]string{a.Folder}, a.From...) {
			if _, there := imports[folder]; !there {
				found = append(found, Finding{Key: a.Folder, Path: folder, Text: "there is no such package"})
			}
		}
		for _, folder := range a.From {
			if by, reached := via[folder]; reached {
				found = append(found, Finding{Key: a.Folder, Path: a.Folder, Text: "gets at " + folder + " by " + by})
			}
		}
	}
	return found
}

// ownImports returns the folders of this module that a file imports.
func ownImports(f *File) (folders []string) {
	for _, spec := range f.AST.Imports {
		if folder, inside := folderOf(unquote(spec.Path)); inside {
			folders = append(folders, folder)
		}
	}
	return folders
}

// areaOf returns the area that names the folder most closely, or nil.
func areaOf(folder string, areas []Area) *Area {
	for at := folder; ; at = path.Dir(at) {
		for i := range areas {
			if slices.Contains(areas[i].Folders, at) {
				return &areas[i]
			}
		}
		if path.Dir(at) == "." {
			return nil // the root's area is for the root alone
		}
	}
}

func folderOf(importPath string) (folder string, inside bool) {
	if importPath == Module {
		return ".", true
	}
	return strings.CutPrefix(importPath, Module+"/")
}

// Fence says where a library may be imported. Of the three, what is set must hold.
type Fence struct {
	Library  string   // an import path, with all below it
	Folders  []string // each with all below it; "*" is every folder; none: nowhere
	Suffixes []string // of file names, such as _windows.go
	Tests    bool     // in tests only
}

// Fences finds imports of libraries outside their fences, and of modules that have none: a new dependency gets a row.
// Where several rows name one library, one of them must admit it.
func Fences(tree Tree, fences []Fence) []Finding {
	var found []Finding
	for _, f := range tree {
		for _, spec := range f.AST.Imports {
			target := unquote(spec.Path)
			rows := rowsOf(target, fences)
			domain, _, _ := strings.Cut(target, "/")
			_, inside := folderOf(target)
			switch {
			case len(rows) == 0 && strings.Contains(domain, ".") && !inside:
				found = append(found, f.find(spec.Pos(), "%s has no fence", target))
			case len(rows) > 0 && !slices.ContainsFunc(rows, func(e Fence) bool { return e.admits(f) }):
				found = append(found, f.find(spec.Pos(), "%s may not be imported here", target))
			}
		}
	}
	return found
}

// rowsOf returns the fences of the longest library that target is, or is a package of.
func rowsOf(target string, fences []Fence) []Fence {
	for library := target; library != "."; library = path.Dir(library) {
		rows := slices.DeleteFunc(slices.Clone(fences), func(e Fence) bool { return e.Library != library })
		if len(rows) > 0 {
			return rows
		}
	}
	return nil
}

func (e Fence) admits(f *File) bool {
	suffixed := slices.ContainsFunc(e.Suffixes, func(s string) bool { return strings.HasSuffix(f.Path, s) })
	return (slices.Contains(e.Folders, "*") || within(f.Folder(), e.Folders)) &&
		(len(e.Suffixes) == 0 || suffixed) && (!e.Tests || f.IsTest())
}
