import {readdirSync, readFileSync, writeFileSync} from 'node:fs';
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

/** Mends what the bundler writes: declarations name no map, because none is shipped, and tell types from values. */
export function mendDeclarations(folder: string, entries: readonly string[]): void {
  for (const name of readdirSync(folder).filter(file => /\.d\.c?ts$/.test(file))) {
    const file = join(folder, name);
    const entry = entries.find(each => name.startsWith(`${each}.d.`));
    const text = readFileSync(file, 'utf8').replace(/\n\/\/# sourceMappingURL=.*\n?$/, '\n');
    const names = new Set(entry === undefined ? [] : typeOnlyNames(join('src', `${entry}.ts`)));
    writeFileSync(file, restoreTypeOnly(text, names));
  }
}
