import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import ts from 'typescript';
import {type Mutation, mutated} from './mutations';

/** How many mutants are compiled together: each is a copy of its file. */
const TOGETHER = 300;

/**
 * Which of the mutants compile. The others are no mistakes that tests have to find: `npm run typecheck` refuses them.
 * Unused names and code that is never reached are allowed, since a mutant only leaves something out.
 */
export function compiling<Mutant extends Mutation & {file: string}>(
  root: string,
  sources: ReadonlyMap<string, string>,
  mutants: readonly Mutant[],
): Set<Mutant> {
  const config = ts.parseJsonConfigFileContent(
    ts.readConfigFile(join(root, 'tsconfig.json'), path => readFileSync(path, 'utf8')).config,
    ts.sys,
    root,
  );
  const options: ts.CompilerOptions = {
    ...config.options,
    ...{noUnusedLocals: false, noUnusedParameters: false, allowUnreachableCode: true, isolatedModules: false},
  };
  const compile = (some: readonly Mutant[], former?: ts.Program): [Mutant[], ts.Program] => {
    const copies = new Map<string, string>();
    const nameOf = (file: string, i: number | string) => join(root, file.replace(/\.ts$/, `.mutant${i}.ts`));
    some.forEach((mutant, i) => {
      const source = sources.get(mutant.file)!;
      copies.set(nameOf(mutant.file, i), mutated(source, mutant));
      copies.set(nameOf(mutant.file, ''), source);
    });
    const disk = ts.createCompilerHost(options);
    const host: ts.CompilerHost = {
      ...disk,
      readFile: path => copies.get(path) ?? disk.readFile(path),
      fileExists: path => copies.has(path) || disk.fileExists(path),
      getSourceFile: (path, target, ...more) => {
        return copies.has(path)
          ? ts.createSourceFile(path, copies.get(path)!, target)
          : (former?.getSourceFile(path) ?? disk.getSourceFile(path, target, ...more));
      },
    };
    const program = ts.createProgram([...copies.keys()], options, host);
    const faultsOf = (path: string) => {
      const file = program.getSourceFile(path)!;
      return program
        .getSemanticDiagnostics(file)
        .concat(program.getSyntacticDiagnostics(file))
        .map(({code, messageText}) => `${code} ${ts.flattenDiagnosticMessageText(messageText, '\n')}`);
    };
    // A copy's classes are not those of the file itself, which others import: what that breaks is no fault.
    const faults = new Map<string, Set<string>>();
    const allowed = (file: string) => {
      const messages = faults.get(file) ?? new Set(faultsOf(nameOf(file, '')));
      faults.set(file, messages);
      return messages;
    };
    return [some.filter(({file}, i) => faultsOf(nameOf(file, i)).every(fault => allowed(file).has(fault))), program];
  };

  const right = new Set<Mutant>();
  let program: ts.Program | undefined;
  for (let i = 0; i < mutants.length; i += TOGETHER) {
    const [some, next] = compile(mutants.slice(i, i + TOGETHER), program);
    some.forEach(mutant => right.add(mutant));
    program = next;
  }
  return right;
}
