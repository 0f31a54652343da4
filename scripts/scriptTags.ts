import {readFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {transformSync} from 'esbuild';
import ts from 'typescript';
import manifest from '../package.json';

// The two files for script tags. The one for language models needs the other before it: it takes the modules that both
// consist of from there, and adds its names to the same global.

/** The global of a page with script tags. */
export const GLOBAL = 'tfjsLoRA';

/** Where the global has the modules that the second file takes from the first. */
const MODULES = 'modules';

/** What a rolldown plugin has that is used here. */
interface Plugin {
  name: string;
  transform?: (code: string, id: string) => string | undefined;
  resolveId?: {
    order: 'pre';
    handler: (source: string, importer?: string) => {id: string; external: true} | undefined;
  };
}

/** Files of `src` that a file loads when it runs, at once and later, with the names that it takes from each. */
function loadedBy(file: string): Map<string, string[]> {
  const {code} = transformSync(readFileSync(file, 'utf8'), {
    loader: 'ts',
    tsconfigRaw: {compilerOptions: {verbatimModuleSyntax: true}},
  });
  const loaded = new Map<string, string[]>();
  const add = (name: string, names: readonly string[]) => {
    if (name.startsWith('.')) {
      const path = join(dirname(file), `${name}.ts`);
      loaded.set(path, [...(loaded.get(path) ?? []), ...names]);
    }
  };
  ts.preProcessFile(code).importedFiles.forEach(({fileName}) => {
    add(fileName, []);
  });
  for (const statement of ts.createSourceFile(file, code, ts.ScriptTarget.ES2022).statements) {
    if ((ts.isImportDeclaration(statement) || ts.isExportDeclaration(statement)) && statement.moduleSpecifier) {
      const list = ts.isImportDeclaration(statement) ? statement.importClause?.namedBindings : statement.exportClause;
      const elements = list !== undefined && 'elements' in list ? [...list.elements] : [];
      add(
        (statement.moduleSpecifier as ts.StringLiteral).text,
        elements.map(({name, propertyName = name}) => propertyName.text),
      );
    }
  }
  return loaded;
}

/** A file and what it loads, and what that loads. */
function graphOf(entry: string, visited = new Set<string>()): Set<string> {
  if (!visited.has(entry)) {
    visited.add(entry);
    [...loadedBy(entry).keys()].forEach(file => graphOf(file, visited));
  }
  return visited;
}

/** What the plugins of both files and the globals of the second one need to know. */
export function shareModules(first: string, second: string) {
  const inFirst = graphOf(first);
  const inSecond = [...graphOf(second)].filter(file => !inFirst.has(file));
  const namesOf = new Map<string, Set<string>>();
  for (const [file, names] of inSecond.flatMap(path => [...loadedBy(path)]).filter(([file]) => inFirst.has(file))) {
    namesOf.set(file, new Set([...(namesOf.get(file) ?? []), ...names]));
  }
  const shared = [...namesOf.keys()].sort();
  const {version} = manifest;
  const exporting: Plugin = {
    name: 'export shared modules',
    transform(code, id) {
      if (id !== first) {
        return undefined;
      }
      const imports = shared.map((file, i) => `import * as m${i} from ${JSON.stringify(file)};`);
      const list = shared.map((file, i) => {
        const getters = [...namesOf.get(file)!].map(name => `get ${name}() { return m${i}.${name}; }`);
        return `{${getters.join(', ')}}`;
      });
      return `${code}\n${imports.join('\n')}\nexport const ${MODULES} = {version: '${version}', list: [${list.join(', ')}]};\n`;
    },
  };
  const taking: Plugin = {
    name: 'take shared modules',
    resolveId: {
      order: 'pre',
      handler(source, importer) {
        const id = importer !== undefined && source.startsWith('.') ? join(dirname(importer), `${source}.ts`) : '';
        return inFirst.has(id) ? {id, external: true} : undefined;
      },
    },
  };
  const names = ['tfjs-lora.min.js', 'tfjs-lora-language.min.js'] as const;
  const message = `${names[1]} ${version} needs ${names[0]} of the same version in a script tag before it.`;
  return {
    exporting,
    taking,
    /** Refuses to start without the first file. */
    check: `if (globalThis.${GLOBAL}?.${MODULES}?.version !== '${version}') throw new Error('${message}');`,
    globalOf: (id: string) => `${GLOBAL}.${MODULES}.list[${shared.indexOf(id)}]`,
  };
}
