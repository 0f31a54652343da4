import ts from 'typescript';

/** A piece of a file that runs as a whole or not at all: a statement, or what an arrow function returns. */
export interface Unit {
  start: number;
  end: number;
  /** The counters that tell whether it runs: its own, or those of a function to which it belongs. */
  counters: number[];
  /** What a statement of the module declares, which runs when the module is loaded. */
  declares?: string[];
}

/** A file that counts which of its units run. */
export interface Counted {
  code: string;
  units: Unit[];
  counters: number;
  /** The names that a unit mentions, by its counter. */
  mentions: Map<string, number[]>;
  /** What each statement of the module declares and mentions outside of functions. */
  statements: {declares: string[]; isExported: boolean; names: Set<string>}[];
}

/** Makes a file count in `globalThis.ranUnits[path]`. */
export function counted(path: string, source: string): Counted {
  const file = ts.createSourceFile(path, source, ts.ScriptTarget.ES2022, true);
  const inserts: {at: number; text: string}[] = [];
  const units: Unit[] = [];
  const mentions = new Map<string, number[]>();
  const statements: Counted['statements'] = [];
  let counters = 0;

  /** Visits what is inside of a unit with this counter; `undefined` outside of functions. */
  const visit = (node: ts.Node, counter: number | undefined): void => {
    if (ts.isTypeNode(node) || ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node)) {
      return;
    }
    if (ts.isIdentifier(node) && counter !== undefined) {
      mentions.set(node.text, [...(mentions.get(node.text) ?? []), counter]);
    }
    if (ts.isFunctionLike(node) && 'body' in node && node.body !== undefined) {
      const first = counters;
      const body = node.body as ts.Node;
      if (ts.isBlock(body)) {
        node.forEachChild(child => visit(child, child === body ? counter : counters));
      } else {
        const own = counters++;
        units.push({start: body.getStart(), end: body.end, counters: [own]});
        inserts.push({at: body.getStart(), text: `(__ran[${own}]=1,`}, {at: body.end, text: ')'});
        node.forEachChild(child => visit(child, own));
      }
      if (counters > first) {
        units.push({start: node.getStart(), end: node.end, counters: [first]});
      }
      return;
    }
    if (ts.isBlock(node) || ts.isCaseOrDefaultClause(node)) {
      for (const statement of node.statements) {
        if (ts.isFunctionDeclaration(statement) || /^super\b/.test(statement.getText())) {
          visit(statement, counter);
          continue;
        }
        const own = counters++;
        units.push({start: statement.getStart(), end: statement.end, counters: [own]});
        inserts.push({at: statement.getStart(), text: `__ran[${own}]=1;`});
        visit(statement, own);
      }
      if (ts.isCaseClause(node)) {
        visit(node.expression, counter);
      }
      return;
    }
    node.forEachChild(child => visit(child, counter));
  };

  for (const statement of file.statements) {
    if (ts.isImportDeclaration(statement) || ts.isExportDeclaration(statement)) {
      continue;
    }
    const first = counters;
    visit(statement, undefined);
    if (ts.isFunctionDeclaration(statement)) {
      continue;
    }
    const declares = declaredBy(statement);
    const inside = Array.from({length: counters - first}, (_, i) => first + i);
    units.push({start: statement.getStart(), end: statement.end, counters: inside, declares});
    const isExported = ts.canHaveModifiers(statement) && !!ts.getModifiers(statement)?.some(isExport);
    statements.push({declares, isExported, names: identifiersIn(statement)});
  }
  const head = `const __ran=((globalThis.ranUnits??={})[${JSON.stringify(path)}]??=new Uint8Array(${counters}));`;
  const code = inserts
    .map((insert, i) => ({...insert, i}))
    // At one place, what begins first comes first, and what ends comes before what begins.
    .sort(
      (one, other) => other.at - one.at || (one.text === ')' ? 1 : 0) - (other.text === ')' ? 1 : 0) || other.i - one.i,
    )
    .reduce((text, {at, text: inserted}) => text.slice(0, at) + inserted + text.slice(at), source);
  return {code: head + code, units, counters, mentions, statements};
}

function isExport({kind}: ts.ModifierLike): boolean {
  return kind === ts.SyntaxKind.ExportKeyword;
}

function declaredBy(statement: ts.Statement): string[] {
  if (ts.isVariableStatement(statement)) {
    return statement.declarationList.declarations.flatMap(({name}) =>
      ts.isIdentifier(name) ? [name.text] : [...identifiersIn(name)],
    );
  }
  return ts.isClassDeclaration(statement) && statement.name !== undefined ? [statement.name.text] : [];
}

function identifiersIn(node: ts.Node): Set<string> {
  const names = new Set<string>();
  const visit = (inner: ts.Node): void => {
    if (ts.isTypeNode(inner) || ts.isFunctionLike(inner)) {
      return;
    }
    if (ts.isIdentifier(inner)) {
      names.add(inner.text);
    }
    inner.forEachChild(visit);
  };
  visit(node);
  return names;
}
