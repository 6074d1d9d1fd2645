'use strict';
// Checks metadata files against the types that Salesforce generates from its Metadata API
// (@salesforce/types). Reads a JSON list of [file, element] from standard input, an element being
// [tag, text, elements], and writes a JSON list of [file, problem]. Argument: the folder of packages.
const { readFileSync } = require('node:fs');
const { join } = require('node:path');

const modules = process.argv[2];
const ts = require(join(modules, 'typescript'));

const declarations = join(modules, '@salesforce', 'types', 'lib', 'metadata.d.ts');
const program = ts.createProgram([declarations], { strict: true, types: [] });
const checker = program.getTypeChecker();
const exported = checker.getSymbolAtLocation(program.getSourceFile(declarations));
const types = new Map(
  checker
    .getExportsOfModule(exported)
    .map((symbol) => [symbol.name, checker.getDeclaredTypeOfSymbol(symbol)]),
);

const literals = (type) => (type.isUnion() ? type.types : [type]).map((each) => each.value);

// What is wrong with a text, or undefined.
const badText = (type, text) => {
  if (type.flags & (ts.TypeFlags.String | ts.TypeFlags.Any)) return undefined;
  if (type.flags & ts.TypeFlags.BooleanLike) {
    return ['true', 'false'].includes(text) ? undefined : `'${text}' is no boolean`;
  }
  if (type.flags & ts.TypeFlags.Number) {
    return /^-?\d+(\.\d+)?$/.test(text) ? undefined : `'${text}' is no number`;
  }
  return literals(type).includes(text) ? undefined : `'${text}' is none of its values`;
};

function* problems(type, [tag, text, elements], path) {
  const compound =
    checker.getPropertiesOfType(type).length > 0 && !!(type.flags & (ts.TypeFlags.Object | ts.TypeFlags.Intersection));
  if (!compound) {
    const bad = elements.length ? 'has elements in it' : badText(type, text);
    if (bad) yield `${path}: ${bad}`;
    return;
  }
  if (text) yield `${path}: has text in it`;
  const known = new Map(checker.getPropertiesOfType(type).map((symbol) => [symbol.name, symbol]));
  const seen = new Set();
  for (const element of elements) {
    const [name] = element;
    const symbol = known.get(name);
    if (!symbol) {
      yield `${path}: has no element ${name}`;
      continue;
    }
    const declared = checker.getNonNullableType(checker.getTypeOfSymbol(symbol));
    const many = checker.isArrayType(declared);
    if (seen.has(name) && !many) yield `${path}: has ${name} twice`;
    seen.add(name);
    const one = many ? checker.getTypeArguments(declared)[0] : declared;
    yield* problems(one, element, `${path}.${name}`);
  }
  for (const [name, symbol] of known) {
    const needed = !(symbol.flags & ts.SymbolFlags.Optional);
    if (needed && !seen.has(name) && !checker.isArrayType(checker.getTypeOfSymbol(symbol))) {
      yield `${path}: has no ${name}`;
    }
  }
}

const found = [];
for (const [file, element] of JSON.parse(readFileSync(0, 'utf-8'))) {
  const type = types.get(element[0]);
  const inFile = type ? problems(type, element, element[0]) : [`${element[0]} is no type`];
  for (const problem of inFile) found.push([file, problem]);
}
process.stdout.write(JSON.stringify(found));
