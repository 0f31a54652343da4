import ts from 'typescript';

/** A change of a piece of a file that the types of the language allow and that should break a test. */
export interface Mutation {
  /** Counted from 1. */
  line: number;
  start: number;
  end: number;
  /** What replaces the text from `start` to `end`. */
  text: string;
  /** What it was and what it becomes, in one line. */
  change: string;
}

const BINARY: Readonly<Record<string, readonly string[]>> = {
  ...{'+': ['-'], '-': ['+'], '*': ['/'], '/': ['*'], '%': ['*'], '**': ['*']},
  ...{'<': ['<=', '>='], '<=': ['<', '>'], '>': ['>=', '<='], '>=': ['>', '<'], '===': ['!=='], '!==': ['===']},
  ...{
    '&&': ['||'],
    '||': ['&&'],
    '??': ['&&'],
    '&': ['|'],
    '|': ['&'],
    '^': ['&'],
    '<<': ['>>'],
    '>>': ['<<'],
    '>>>': ['<<'],
  },
  ...{'+=': ['-='], '-=': ['+='], '*=': ['/='], '/=': ['*=']},
};

/** Functions and methods that are as easily confused as operators. */
const CALLS: Readonly<Record<string, string>> = Object.fromEntries(
  [
    ...[['add', 'sub'] as const, ['mul', 'div'] as const, ['maximum', 'minimum'] as const, ['max', 'min'] as const],
    ...[['greater', 'greaterEqual'] as const, ['less', 'lessEqual'] as const, ['zeros', 'ones'] as const],
    ...[['zerosLike', 'onesLike'] as const, ['floor', 'ceil'] as const, ['some', 'every'] as const],
    ...[['startsWith', 'endsWith'] as const, ['push', 'unshift'] as const, ['sin', 'cos'] as const],
  ].flatMap(([one, other]) => [
    [one, other],
    [other, one],
  ]),
);

/** Functions that give the same for swapped arguments. */
const COMMUTATIVE = /\b(?:add|addN|mul|max|min|maximum|minimum|editsBetween|equal|notEqual|arraysEqual|imul)$/;

/** All mutations of a file: of operators, signs, bounds, conditions and arguments; statements left out, early ends. */
export function mutationsOf(path: string, source: string): Mutation[] {
  const file = ts.createSourceFile(path, source, ts.ScriptTarget.ES2022, true);
  const mutations: Mutation[] = [];

  const replace = (start: number, end: number, text: string, before = source.slice(start, end), after = text) => {
    const line = file.getLineAndCharacterOfPosition(start).line + 1;
    mutations.push({line, start, end, text, change: `${brief(before)} → ${after === '' ? 'nothing' : brief(after)}`});
  };
  const ofNode = (node: ts.Node, text: string) => {
    replace(node.getStart(), node.end, text);
  };

  const visit = (node: ts.Node): void => {
    if (
      isOptionTable(node) ||
      isDefaultOfAxis(node) ||
      ts.isTypeNode(node) ||
      ts.isImportDeclaration(node) ||
      ts.isExportDeclaration(node) ||
      ts.isInterfaceDeclaration(node) ||
      ts.isTypeAliasDeclaration(node)
    ) {
      return;
    }
    if (ts.isBinaryExpression(node)) {
      const operator = node.operatorToken.getText();
      const [left, right] = [node.left.getText(), node.right.getText()];
      const isText = operator === '+' || operator === '+=' ? isTextual(node) : false;
      for (const other of isText ? [] : (BINARY[operator] ?? [])) {
        const token = node.operatorToken;
        replace(token.getStart(), token.end, other, `${left} ${operator} ${right}`, `${left} ${other} ${right}`);
      }
    } else if (ts.isPrefixUnaryExpression(node)) {
      const operand = node.operand.getText();
      const isStep = node.operator === ts.SyntaxKind.PlusPlusToken || node.operator === ts.SyntaxKind.MinusMinusToken;
      const other = node.operator === ts.SyntaxKind.PlusPlusToken ? '--' : isStep ? '++' : '';
      ofNode(node, other + operand);
    } else if (ts.isPostfixUnaryExpression(node)) {
      ofNode(node, node.operand.getText() + (node.operator === ts.SyntaxKind.PlusPlusToken ? '--' : '++'));
    } else if (ts.isNumericLiteral(node)) {
      const value = Number(node.text);
      for (const other of [value + 1, ...(value > 0 ? [value - 1] : [])]) {
        replace(node.getStart(), node.end, String(other), around(node), around(node, String(other)));
      }
    } else if (node.kind === ts.SyntaxKind.TrueKeyword || node.kind === ts.SyntaxKind.FalseKeyword) {
      const other = node.kind === ts.SyntaxKind.TrueKeyword ? 'false' : 'true';
      replace(node.getStart(), node.end, other, around(node), around(node, other));
    } else if (ts.isConditionalExpression(node)) {
      const {condition, whenTrue, whenFalse} = node;
      ofNode(node, `${condition.getText()} ? ${whenFalse.getText()} : ${whenTrue.getText()}`);
    } else if (ts.isIfStatement(node)) {
      const condition = node.expression.getText();
      replace(node.expression.getStart(), node.expression.end, `!(${condition})`);
      if (node.elseStatement === undefined && ts.isBlock(node.parent)) {
        ofNode(node, '');
      }
    } else if (ts.isExpressionStatement(node)) {
      if (!/^super\b/.test(node.getText())) {
        ofNode(node, ';');
      }
    } else if (ts.isCallExpression(node) || ts.isNewExpression(node)) {
      const args = COMMUTATIVE.test(node.expression.getText()) ? [] : (node.arguments ?? []);
      args.forEach((arg, i) => {
        const next = args[i + 1];
        if (next !== undefined && isPlain(arg) && isPlain(next) && arg.getText() !== next.getText()) {
          const swapped = `${next.getText()}, ${arg.getText()}`;
          const whole = source.slice(node.getStart(), arg.getStart()) + swapped + source.slice(next.end, node.end);
          replace(arg.getStart(), next.end, swapped, node.getText(), whole);
        }
      });
      // The order of faults in a message says nothing.
      const isListing = /^(?:reading\.)?(?:faults|warnings)\.push$/.test(node.expression.getText());
      const name = ts.isPropertyAccessExpression(node.expression) && !isListing ? node.expression.name : undefined;
      const other = name && Object.hasOwn(CALLS, name.text) ? CALLS[name.text] : undefined;
      if (name !== undefined && other !== undefined) {
        const whole = source.slice(node.getStart(), name.getStart()) + other + source.slice(name.end, node.end);
        replace(name.getStart(), name.end, other, node.getText(), whole);
      }
    }
    for (const statement of statementsOfVoid(node).slice(1)) {
      const start = statement.getStart();
      replace(start, start, 'return; ', statement.getText(), `return; ${statement.getText()}`);
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return mutations;
}

/** The file with a mutation. */
export function mutated(source: string, {start, end, text}: Mutation): string {
  return source.slice(0, start) + text + source.slice(end);
}

/** Whether a node says which options exist, with `true` for each: nothing reads the values. */
function isOptionTable(node: ts.Node): boolean {
  return (
    ts.isObjectLiteralExpression(node) &&
    node.properties.length > 0 &&
    ts.isCallExpression(node.parent) &&
    node.parent.expression.getText() === 'checkOptions' &&
    node.parent.arguments[1] === node
  );
}

/** Whether a number is the default of an axis, as in `const [rows = 1] = x.shape` and `x.shape[0] ?? 1`: shapes have them. */
function isDefaultOfAxis(node: ts.Node): boolean {
  const {parent} = node;
  if (!ts.isNumericLiteral(node)) {
    return false;
  }
  if (ts.isBinaryExpression(parent) && parent.operatorToken.kind === ts.SyntaxKind.QuestionQuestionToken) {
    return /\.shape(?:\.at\(-1\)|\[[^[\]]*\])$/.test(parent.left.getText());
  }
  if (!ts.isBindingElement(parent) || !ts.isArrayBindingPattern(parent.parent)) {
    return false;
  }
  const {parent: owner} = parent.parent;
  return ts.isVariableDeclaration(owner)
    ? /shape(?:\.slice\([^()]*\))?$/i.test(owner.initializer?.getText() ?? '')
    : ts.isBindingElement(owner)
      ? owner.propertyName?.getText() === 'shape'
      : owner.type?.getText() === 'number[]';
}

/** Whether a sum, or one that it is part of, joins texts. */
function isTextual(node: ts.Node): boolean {
  if (ts.isParenthesizedExpression(node)) {
    return isTextual(node.expression);
  }
  return ts.isBinaryExpression(node)
    ? isTextual(node.left) || isTextual(node.right)
    : ts.isStringLiteral(node) || ts.isTemplateLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node);
}

/** Whether an argument may change places with another. */
function isPlain(node: ts.Node): boolean {
  return !ts.isSpreadElement(node) && !ts.isFunctionLike(node) && !ts.isObjectLiteralExpression(node);
}

/** The statements of a function that returns nothing; none for other nodes. */
function statementsOfVoid(node: ts.Node): readonly ts.Statement[] {
  const body = ts.isFunctionLike(node) && 'body' in node ? node.body : undefined;
  if (body === undefined || !ts.isBlock(body) || ts.isConstructorDeclaration(node)) {
    return [];
  }
  const returnsValue = (inner: ts.Node): boolean => {
    return ts.isReturnStatement(inner)
      ? inner.expression !== undefined
      : !ts.isFunctionLike(inner) && ts.forEachChild(inner, child => returnsValue(child) || undefined) === true;
  };
  return returnsValue(body) ? [] : body.statements;
}

/** A literal with what it is part of. */
function around(node: ts.Node, text = node.getText()): string {
  const {parent} = node;
  const whole = parent.getText();
  const at = node.getStart() - parent.getStart();
  return whole.length > 120 ? text : whole.slice(0, at) + text + whole.slice(at + node.getText().length);
}

function brief(text: string): string {
  const line = text.replace(/\s+/g, ' ');
  return line.length > 100 ? `${line.slice(0, 97)}…` : line;
}
