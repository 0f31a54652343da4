/** The entry of the worker: calls come in; results, errors, and news go out. */
import {answerCalls} from '../../shared/worker';
import {DeployEngine} from './engine';

answerCalls(tell => new DeployEngine(tell));
