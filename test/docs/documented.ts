import ts from 'typescript';
import {isOurs, type Library, POINTS, withoutAlias} from '../../scripts/api';

/** The comment on a declaration: for a constant, on its statement. */
function commentsOf(symbol: ts.Symbol): ts.JSDoc[] {
  return (symbol.declarations ?? []).flatMap(node => ts.getJSDocCommentsAndTags(node).filter(ts.isJSDoc));
}

function textOf(comment: string | ts.NodeArray<ts.JSDocComment> | undefined): string {
  return ts.getTextOfJSDocComment(comment)?.trim() ?? '';
}

/** Whether a call of a function may end with an error of the library, as far as its text says. */
class Throws {
  private readonly known = new Map<ts.Node, boolean>();

  constructor(private readonly checker: ts.TypeChecker) {}

  of(node: ts.Node): boolean {
    const found = this.known.get(node);
    if (found !== undefined) {
      return found;
    }
    this.known.set(node, false); // until it is known, for a function that calls itself
    const throws = this.inside(node);
    this.known.set(node, throws);
    return throws;
  }

  private inside(node: ts.Node): boolean {
    if (ts.isThrowStatement(node)) {
      return true;
    }
    const isCall = ts.isCallExpression(node) || ts.isNewExpression(node);
    if (isCall && this.called(node.expression).some(each => this.of(each))) {
      return true;
    }
    return ts.forEachChild(node, child => this.inside(child) || undefined) ?? false;
  }

  /** The functions of the library that an expression stands for. */
  private called(expression: ts.Expression): ts.Node[] {
    const symbol = this.checker.getSymbolAtLocation(expression);
    const declarations = symbol && withoutAlias(this.checker, symbol).declarations;
    return (declarations ?? []).filter(isOurs).flatMap(node => {
      if (ts.isClassDeclaration(node)) {
        return node.members.filter(ts.isConstructorDeclaration);
      }
      return ts.isFunctionLike(node) || ts.isVariableDeclaration(node) ? [node] : [];
    });
  }
}

/** What the comments of exported functions lack, a line for each function, by the file that it is in. */
export function undocumented({checker, exportsOf}: Library): string[] {
  const throws = new Throws(checker);
  const functions = new Map(
    POINTS.flatMap(exportsOf)
      .filter(({symbol}) => symbol.flags & ts.SymbolFlags.Function)
      .map(({name, symbol}) => [symbol, name] as const),
  );
  const lines = [...functions].flatMap(([symbol, name]) => {
    const declarations = (symbol.declarations ?? []).filter(ts.isFunctionDeclaration);
    const comments = commentsOf(symbol);
    const tags = comments.flatMap(({tags: all}) => [...(all ?? [])]);
    const named = (tag: string) => tags.filter(({tagName}) => tagName.text === tag);
    const told = new Set(tags.filter(ts.isJSDocParameterTag).map(tag => tag.name.getText().replace(/^_/, '')));
    const [file] = declarations.map(node => node.getSourceFile().fileName.replace(/^.*\/src\//, 'src/'));
    // of a function with overloads, callers see no other parameters
    const called = declarations.filter(({body}) => declarations.length === 1 || body === undefined);
    const untold = called
      .flatMap(({parameters}) => [...parameters])
      .map(({name: parameter}) => (ts.isIdentifier(parameter) ? parameter.text : 'options'))
      .map(parameter => parameter.replace(/^_/, ''))
      .filter(parameter => !told.has(parameter));
    const returned = declarations.map(node =>
      checker.typeToString(checker.getSignatureFromDeclaration(node)!.getReturnType()),
    );
    const isVoid = returned.every(type => /^(Promise<)?void>?$/.test(type));
    const hasExample =
      named('example').length > 0 ||
      comments.some(({comment}) => /^ {4}\S/m.test(ts.getTextOfJSDocComment(comment) ?? ''));
    const faults = [
      ...(comments.some(({comment}) => /^[A-Z]\w*s\b/.test(textOf(comment))) ? [] : ['a first sentence: "Loads …"']),
      ...[...new Set(untold)].map(parameter => `@param ${parameter}`),
      ...(isVoid || named('returns').length > 0 ? [] : ['@returns']),
      ...(!declarations.some(node => throws.of(node)) ||
      named('throws').some(({comment}) => /ERR_[A-Z]/.test(textOf(comment)))
        ? []
        : ['@throws with its codes']),
      ...(hasExample ? [] : ['@example']),
    ];
    return faults.length === 0 ? [] : [`${file}: ${name} lacks ${faults.join(', ')}`];
  });
  return lines.sort();
}

/** The members of exported interfaces that no comment describes, by the file that they are in. */
export function undocumentedMembers({exportsOf}: Library): string[] {
  const declarations = new Set(POINTS.flatMap(exportsOf).flatMap(({symbol}) => symbol.declarations ?? []));
  return [...declarations]
    .filter(ts.isInterfaceDeclaration)
    .filter(isOurs)
    .flatMap(({name, members}) =>
      members
        .filter(member => ts.isPropertySignature(member) || ts.isMethodSignature(member))
        .filter(member => !ts.getJSDocCommentsAndTags(member).some(ts.isJSDoc))
        .map(member => {
          const file = member.getSourceFile().fileName.replace(/^.*\/src\//, 'src/');
          return `${file}: ${name.text}.${member.name.getText()}`;
        }),
    )
    .sort();
}
