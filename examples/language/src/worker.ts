/** The entry of the worker: calls come in; results, errors, and news of loading, training and writing go out. */
import {answerCalls} from '../../shared/worker';
import {LanguageEngine} from './engine';

answerCalls(tell => new LanguageEngine(tell));
