import {readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import ts from 'typescript';

/** The names that an entry point exports with `type`, and those that it takes from another one whole. */
function typeOnlyNames(file: string): string[] {
  const {statements} = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.ES2022);
  return statements.filter(ts.isExportDeclaration).flatMap(({exportClause, isTypeOnly, moduleSpecifier}) => {
    if (exportClause === undefined) {
      return typeOnlyNames(join(file, '..', `${(moduleSpecifier as ts.StringLiteral).text}.ts`));
    }
    const specifiers = ts.isNamedExports(exportClause) ? [...exportClause.elements] : [];
    return specifiers.filter(each => isTypeOnly || each.isTypeOnly).map(({name}) => name.text);
  });
}

/**
 * Writes `type` before the names of an entry's declarations that its source exports with `type`. The bundler of
 * declarations keeps it in the file that declares a name alone, so that a class that another chunk declares would
 * compile as a value that no module has.
 */
function restoreTypeOnly(text: string, names: ReadonlySet<string>): string {
  return text.replace(/^export \{ (.+?) \};/m, (_, list: string) => {
    const specifiers = list.split(', ').map(specifier => {
      const bare = specifier.replace(/^type /, '');
      return names.has(bare.replace(/^.* as /, '')) ? `type ${bare}` : bare;
    });
    return `export { ${specifiers.join(', ')} };`;
  });
}

/**
 * Lets optional members be `undefined`, as the library takes them, for programs with `exactOptionalPropertyTypes`. The
 * sources are compiled without that option, so `name?: T` means this there.
 */
export function withUndefined(text: string): string {
  const source = ts.createSourceFile('declarations.d.ts', text, ts.ScriptTarget.ES2022, true);
  const insertions: [position: number, text: string][] = [];
  const visit = (node: ts.Node): void => {
    const isMember = ts.isPropertySignature(node) || ts.isPropertyDeclaration(node) || ts.isMappedTypeNode(node);
    if (isMember && node.questionToken !== undefined && node.type !== undefined) {
      insertions.push(...undefinedIn(node.type));
    }
    node.forEachChild(visit);
  };
  visit(source);
  const ordered = insertions.sort(([one], [other]) => one - other);
  const starts = [0, ...ordered.map(([position]) => position)];
  return starts.map((start, i) => (ordered[i - 1]?.[1] ?? '') + text.slice(start, starts[i + 1])).join('');
}

/** Leaves out which interfaces a class implements: the members that implement them may be internal, and not declared. */
function withoutImplements(text: string): string {
  return text.replace(/^((?:export |declare |abstract )*class .*?) implements [^{]*\{/gm, '$1 {');
}

/** What to write where, so that a type includes `undefined`. */
function undefinedIn(type: ts.TypeNode): [position: number, text: string][] {
  const parts = ts.isUnionTypeNode(type) ? [...type.types] : [type];
  if (parts.some(({kind}) => kind === ts.SyntaxKind.UndefinedKeyword)) {
    return [];
  }
  const isOpen = ts.isFunctionTypeNode(type) || ts.isConstructorTypeNode(type) || ts.isConditionalTypeNode(type);
  return isOpen
    ? [
        [type.getStart(), '('],
        [type.end, ') | undefined'],
      ]
    : [[type.end, ' | undefined']];
}

/**
 * Mends what the bundler writes: declarations name no map, because none is shipped, tell types from values, and let
 * optional members be `undefined`. Those of modules take all from those of CommonJS, which would repeat them.
 */
export function mendDeclarations(folder: string, entries: readonly string[]): void {
  for (const name of readdirSync(folder).filter(file => /\.d\.c?ts$/.test(file))) {
    const file = join(folder, name);
    const entry = entries.find(each => name.startsWith(`${each}.d.`));
    if (name.endsWith('.d.cts')) {
      const text = readFileSync(file, 'utf8').replace(/\n\/\/# sourceMappingURL=.*\n?$/, '\n');
      const names = new Set(entry === undefined ? [] : typeOnlyNames(join('src', `${entry}.ts`)));
      writeFileSync(file, withUndefined(withoutImplements(restoreTypeOnly(text, names))));
    } else if (entry === undefined) {
      rmSync(file);
    } else {
      writeFileSync(file, `export * from './${entry}.cjs';\n`);
    }
  }
}
